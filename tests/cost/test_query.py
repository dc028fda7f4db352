"""The paper's tables 5 and 6 (arXiv 2411.02355) from its own latencies, rates and prices, within what printing rounded."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.cost import query
from whichbits.cost.prices import prices

# Table 5: device, count, then latency (s) and queries per dollar over the seven use cases.
SYNCHRONOUS = {
    "8B a6000 bf16": ("a6000", 1, (24.5, 3.2, 25.0, 3.3, 3.1, 6.2, 13.4), (183, 1395, 180, 1374, 1445, 723, 335)),
    "8B a6000 int8": ("a6000", 1, (15.9, 2.1, 16.3, 2.1, 2.0, 4.0, 8.9), (284, 2157, 276, 2139, 2249, 1120, 506)),
    "8B a6000 int4": ("a6000", 1, (9.7, 1.4, 10.1, 1.4, 1.3, 2.5, 6.1), (462, 3290, 445, 3136, 3543, 1787, 736)),
    "70B a6000 bf16": ("a6000", 4, (61.7, 6.6, 62.6, 8.1, 8.0, 15.8, 32.6), (18, 170, 18, 138, 141, 71, 35)),
    "70B a6000 int8": ("a6000", 2, (63.4, 7.1, 63.8, 8.4, 8.0, 16.2, 34.0), (35, 317, 35, 267, 280, 139, 66)),
    "70B a6000 int4": ("a6000", 2, (39.2, 5.0, 40.4, 5.8, 5.1, 10.2, 23.5), (57, 453, 56, 390, 440, 221, 96)),
    "70B a100 bf16": ("a100", 2, (50.7, 2.9, 51.2, 6.8, 6.4, 12.9, 27.3), (20, 343, 20, 148, 156, 78, 37)),
    "70B a100 int4": ("a100", 1, (35.0, 2.8, 35.8, 5.2, 4.6, 9.2, 21.0), (57, 718, 56, 390, 439, 220, 96)),
    "70B h100 bf16": ("h100", 2, (31.3, 4.0, 31.5, 4.1, 4.0, 7.9, 16.4), (18, 139, 18, 138, 142, 71, 34)),
    "70B h100 fp8": ("h100", 1, (32.8, 4.3, 33.1, 4.3, 4.2, 8.3, 17.4), (33, 256, 33, 254, 262, 132, 63)),
    "405B a100 bf16": ("a100", 16, (81.9, 10.8, 81.2, 11.2, 10.6, 20.9, 44.1), (2, 12, 2, 11, 12, 6, 3)),
    "405B h100 bf16": ("h100", 16, (50.6, 6.5, 50.3, 6.6, 6.4, 13.0, 26.5), (1, 12, 1, 11, 12, 6, 3)),
    "405B h100 fp8": ("h100", 8, (31.7, 4.2, 31.9, 4.2, 4.1, 8.0, 16.7), (5, 36, 5, 36, 37, 19, 9)),
    "405B h100 int4": ("h100", 4, (37.5, 5.0, 37.8, 5.1, 4.8, 9.2, 20.4), (8, 58, 8, 57, 60, 32, 14)),
}
COST_REDUCTION = {
    ("8B a6000 bf16", "8B a6000 int8"): 1.54,
    ("8B a6000 bf16", "8B a6000 int4"): 2.39,
    ("70B a6000 bf16", "70B a6000 int8"): 1.94,
    ("70B a6000 bf16", "70B a6000 int4"): 2.96,
    ("70B a100 bf16", "70B a100 int4"): 2.67,
}
# Table 6: device, count, then maximum queries per second and thousands of queries per dollar.
ASYNCHRONOUS = {
    "8B a6000 bf16": ("a6000", 1, (1.5, 5.6, 1.1, 4.4, 11.8, 5.3, 0.7), (6.8, 25.1, 4.8, 19.9, 53.0, 24.0, 3.2)),
    "8B a6000 int8": ("a6000", 1, (2.2, 7.7, 1.4, 6.1, 16.5, 7.2, 1.0), (9.8, 34.6, 6.4, 27.6, 74.5, 32.3, 4.4)),
    "8B a6000 int4": ("a6000", 1, (2.2, 5.3, 1.3, 4.1, 11.2, 5.4, 0.7), (9.8, 24.0, 6.0, 18.6, 50.5, 24.3, 3.1)),
    "70B a100 int8": ("a100", 4, (2.4, 15.9, 1.8, 6.1, 16.5, 8.0, 1.2), (1.2, 8.0, 0.9, 3.1, 8.3, 4.0, 0.6)),
    "70B h100 fp8": ("h100", 4, (6.9, 17.8, 4.0, 14.3, 38.3, 18.4, 2.6), (2.0, 5.2, 1.2, 4.2, 11.1, 5.4, 0.8)),
    "405B h100 fp8": ("h100", 16, (4.4, 9.6, 2.7, 7.6, 20.7, 10.4, 1.7), (0.329, 0.725, 0.2, 0.571, 1.561, 0.78, 0.125)),
    "405B h100 bf16": ("h100", 16, (0.7, 6.1, 0.6, 4.8, 8.5, 5.3, 0.6), (0.052, 0.456, 0.044, 0.363, 0.638, 0.398, 0.046)),
    # The erratum: the A100 rows of 405B were computed with the price of H100.
    "405B a100 int8": ("h100", 16, (1.3, 4.8, 1.1, 3.8, 10.1, 4.9, 0.8), (0.098, 0.358, 0.079, 0.282, 0.76, 0.366, 0.063)),
}
SPEEDUP = {
    ("8B a6000 bf16", "8B a6000 int8"): 1.38,
    ("8B a6000 bf16", "8B a6000 int4"): 1.08,
    ("405B h100 bf16", "405B h100 fp8"): 3.04,
}


def dollars(device: str, count: int) -> float:
    return prices("paper-2024-10").price(device).per_hour(count)


def overlap(low: float, high: float, printed: float, half_unit: float) -> bool:
    return low <= printed + half_unit * 1.0001 and high >= printed - half_unit * 1.0001


@pytest.mark.parametrize("row", SYNCHRONOUS)
def test_synchronous_queries_per_dollar_of_table_5(row):
    device, count, latencies, printed = SYNCHRONOUS[row]
    price = dollars(device, count)
    for latency, queries in zip(latencies, printed, strict=True):
        low, high = (query.queries_per_dollar_synchronous(latency + side * 0.05, price) for side in (1, -1))
        assert overlap(low, high, queries, 0.5), (latency, queries, low, high)


@pytest.mark.parametrize("row", ASYNCHRONOUS)
def test_asynchronous_queries_per_dollar_of_table_6(row):
    device, count, rates, printed = ASYNCHRONOUS[row]
    price = dollars(device, count)
    half_unit = 0.05 if max(printed) > 2 else 0.0005
    for rate, thousands in zip(rates, printed, strict=True):
        low, high = (query.queries_per_dollar_asynchronous(rate + side * 0.05, price) / 1000 for side in (-1, 1))
        assert overlap(low, high, thousands, half_unit), (rate, thousands, low, high)


def test_the_erratum_of_table_6_does_not_fit_the_price_of_a100():
    _, count, rates, printed = ASYNCHRONOUS["405B a100 int8"]
    low = query.queries_per_dollar_asynchronous(rates[4] - 0.05, dollars("a100", count)) / 1000
    assert not overlap(low, low, printed[4], 0.0005)
    assert printed[4] * dollars("h100", 16) / dollars("a100", 16) == pytest.approx(1.27, abs=0.005)


def ratio_bounds(candidate, base, half_unit):
    """Ratios of queries per dollar at both ends of what printing rounded."""
    ends = []
    for side in (-1, 1):
        pairs = zip(candidate, base, strict=True)
        ends.append([query.cost_reduction(new + side * half_unit, old - side * half_unit) for new, old in pairs])
    return ends


@pytest.mark.parametrize(("rows", "printed"), COST_REDUCTION.items())
def test_cost_reduction_of_table_5_is_the_arithmetic_mean(rows, printed):
    base, candidate = (SYNCHRONOUS[row][3] for row in rows)
    low, high = map(query.arithmetic_mean, ratio_bounds(candidate, base, 0.5))
    assert overlap(low, high, printed, 0.005), (low, high)
    assert high - low < 0.08 * printed


@pytest.mark.parametrize(("rows", "printed"), SPEEDUP.items())
def test_speedup_of_table_6_is_the_arithmetic_mean(rows, printed):
    base, candidate = (ASYNCHRONOUS[row][3] for row in rows)
    ends = ratio_bounds(candidate, base, 0.0005 if max(base) < 2 else 0.05)
    low, high = map(query.arithmetic_mean, ends)
    assert overlap(low, high, printed, 0.005), (low, high)
    if "405B" in rows[0]:
        assert not overlap(*map(query.geometric_mean, ends), printed, 0.005)


positive = st.floats(1e-3, 1e3)


@given(positive, positive, positive, st.integers(1, 16), st.integers(1, 16))
def test_the_price_cancels_within_one_device_kind(new, old, price, devices, base_devices):
    synchronous = query.cost_reduction(
        query.queries_per_dollar_synchronous(new, price * devices),
        query.queries_per_dollar_synchronous(old, price * base_devices),
    )
    assert query.cost_reduction_synchronous(new, old, devices=devices, base_devices=base_devices) == pytest.approx(synchronous)
    asynchronous = query.cost_reduction(
        query.queries_per_dollar_asynchronous(new, price * devices),
        query.queries_per_dollar_asynchronous(old, price * base_devices),
    )
    assert query.cost_reduction_asynchronous(new, old, devices=devices, base_devices=base_devices) == pytest.approx(
        asynchronous
    )


def test_means_by_hand():
    assert query.arithmetic_mean([1, 4]) == 2.5
    assert query.geometric_mean([1, 4]) == pytest.approx(2)
    assert query.arithmetic_mean([1, 4], [3, 1]) == pytest.approx(1.75)
    assert query.geometric_mean([1, 4], [1, 3]) == pytest.approx(4**0.75)


@given(st.lists(positive, min_size=1, max_size=8))
def test_only_the_geometric_mean_is_the_same_seen_from_either_side(ratios):
    assert query.geometric_mean([1 / ratio for ratio in ratios]) == pytest.approx(1 / query.geometric_mean(ratios))
    assert query.geometric_mean(ratios) <= query.arithmetic_mean(ratios) * (1 + 1e-9)


def test_dollars_per_query_of_a_half_idle_device():
    assert query.dollars_per_query(200) == pytest.approx(0.005)
    assert query.dollars_per_query(200, utilisation=0.5) == pytest.approx(0.01)


def test_fleet_by_hand():
    fleet = query.fleet(7.0, 3.0, 2.0)
    assert (fleet.replicas, fleet.price_per_hour) == (3, 6.0)
    assert fleet.dollars_per_query == pytest.approx(6.0 / 25200)
    assert fleet.utilisation == pytest.approx(7 / 9)
    assert query.fleet(7.0, 3.0, 2.0, largest_utilisation=0.5).replicas == 5
    assert query.fleet(0.3, 0.1, 1.0).replicas == 3


@given(st.floats(0.01, 500), positive, positive, st.floats(0.1, 1))
def test_a_fleet_carries_its_target_and_one_replica_less_does_not(target, rate, price, share):
    fleet = query.fleet(target, rate, price, largest_utilisation=share)
    assert fleet.utilisation <= share * (1 + 1e-6)
    assert fleet.replicas == 1 or (fleet.replicas - 1) * rate * share < target
    full = query.dollars_per_query(query.queries_per_dollar_asynchronous(rate, price), fleet.utilisation)
    assert fleet.dollars_per_query == pytest.approx(full)


@pytest.mark.parametrize(
    "call",
    [
        lambda: query.queries_per_dollar_synchronous(0, 1),
        lambda: query.queries_per_dollar_asynchronous(1, -1),
        lambda: query.cost_reduction(math.inf, 1),
        lambda: query.cost_reduction_synchronous(1, math.nan),
        lambda: query.dollars_per_query(1, 0),
        lambda: query.fleet(1, 1, 1, largest_utilisation=1.5),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ValueError, match="must be"):
        call()
