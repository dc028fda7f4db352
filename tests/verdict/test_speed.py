import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.verdict.collect import collect
from whichbits.verdict.speed import average, best_load, cost_finding, loads, meets, queries, ratio, series, speed_findings
from whichbits.verdict.statistics import RoundValue

FORMATS = {"bf16": "bf16", "w8a8-int": "w8a8-int", "w4a16-int": "w4a16-int"}
VALUES = st.floats(0.01, 100)


def by_round(values, error=0.01):
    return {("one", str(r)): RoundValue(value, error) for r, value in enumerate(values)}


def load_of(found, candidate, rung):
    return next(load for load in found if (load.candidate, load.rung) == (candidate, rung))


def test_ratio_is_taken_within_each_round():
    # the machine slows down from round to round; the ratio does not
    found = ratio(by_round([2.0, 4.0, 8.0]), by_round([1.0, 2.0, 4.0]), level=0.95)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert found.high / found.low < 1.1
    drift = average(by_round([2.0, 4.0, 8.0]), level=0.95)
    assert drift is not None
    assert drift.high / drift.low > 10


def test_rounds_that_only_one_side_has_do_not_enter():
    found = ratio(by_round([2.0, 4.0, 800.0]), by_round([1.0, 2.0]), level=0.95)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert ratio(by_round([1.0]), {}, level=0.95) is None


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5))
def test_swapping_numerator_and_denominator_inverts_the_ratio(rows):
    above, below = by_round([a for a, _ in rows]), by_round([b for _, b in rows])
    there, back = ratio(above, below, level=0.95), ratio(below, above, level=0.95)
    assert there is not None
    assert back is not None
    assert there.value * back.value == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)


def test_the_base_is_measured_once_though_every_cell_holds_a_copy(cells):
    copies = [cells.serve(name, r, {1: (1.0, 2.0)}) for r in range(2) for name in ("w8a8-int", "w4a16-int")]
    load = load_of(loads(collect(copies, "bf16", FORMATS)), "bf16", "synchronous")
    assert [r.repeat for r in load.own] == ["0", "1"]


def test_two_measurements_of_one_round_count_as_their_mean(cells):
    records = [cells.serve("w8a8-int", 0, {4: (1.0, 2.0)}), cells.serve("w4a16-int", 0, {4: (1.0, 4.5)})]
    base = load_of(loads(collect(records, "bf16", FORMATS)), "bf16", "concurrency 4")
    (value,) = series(base.own, "requests_per_second").values()
    assert value.value == pytest.approx(np.sqrt(4 / 2.0 * 4 / 4.5))


def test_synchronous_queries_are_the_inverse_of_latency(cells):
    records = [cells.serve("w8a8-int", 0, {1: (0.5, 1.0)})]
    load = load_of(loads(collect(records, "bf16", FORMATS)), "w8a8-int", "synchronous")
    (value,) = queries(load).values()
    assert value.value == pytest.approx(2.0, rel=0.03)


def test_findings_of_a_load(cells):
    records = [cells.serve("w8a8-int", r, {1: (0.5, 1.0), 16: (1.0, 2.0)}) for r in range(3)]
    formed = loads(collect(records, "bf16", FORMATS))
    found = {
        (s.metric, s.percentile): s for s in speed_findings(load_of(formed, "w8a8-int", "concurrency 16"), None, level=0.95)
    }
    assert found[("latency_s", None)].ratio.value == pytest.approx(0.5, rel=0.02)
    assert found[("requests_per_second", None)].ratio.value == pytest.approx(2.0, rel=0.02)
    assert found[("latency_s", 99.0)].estimate.high >= found[("latency_s", 99.0)].estimate.value
    assert ("itl_s", 95.0) not in found
    alone = {(s.metric, s.percentile) for s in speed_findings(load_of(formed, "w8a8-int", "synchronous"), None, level=0.95)}
    assert ("latency_s", 50.0) in alone
    assert ("latency_s", 95.0) not in alone  # 30 requests bound no 95th percentile


def test_the_best_load_is_the_fastest_within_the_limits(cells):
    records = [cells.serve("w8a8-int", r, {4: (1.0, 1.0), 16: (2.0, 2.0)}) for r in range(2)]
    own = [load for load in loads(collect(records, "bf16", FORMATS)) if load.candidate == "w8a8-int"]
    limit = {"latency": {"seconds": 1.5, "percentile": 95.0}, "ttft": None}
    assert best_load(own, {}).rung == "concurrency 16"  # type: ignore[union-attr]
    assert best_load(own, limit).rung == "concurrency 4"  # type: ignore[union-attr]
    assert best_load(own, {"ttft": {"seconds": 1e-6, "percentile": 50.0}}) is None
    assert [meets(load, limit) for load in own] == [False, True]


def test_a_load_without_a_valid_round_is_on_offer_to_nobody(cells):
    records = [cells.serve("w8a8-int", 0, {4: (1.0, 1.0)}, valid=False)]
    assert best_load(loads(collect(records, "bf16", FORMATS)), {}) is None


def test_the_cost_of_a_row_of_table_5(cells):
    # arXiv 2411.02355: 8B on an A6000 at 0.80 dollars an hour, INT4 9.7 s and 462 queries a dollar, BF16 24.5 s.
    records = [cells.serve("w4a16-int", r, {1: (9.7, 24.5)}) for r in range(3)]
    formed = loads(collect(records, "bf16", FORMATS))
    own, base = (load_of(formed, candidate, "synchronous") for candidate in ("w4a16-int", "bf16"))
    found = cost_finding(own, base, {"price_per_hour": 0.80, "price_source": "the paper"}, None, level=0.95)
    assert found.mode == "synchronous"
    assert found.queries_per_dollar.value == pytest.approx(462, rel=0.02)
    assert found.cost_reduction.value == pytest.approx(24.5 / 9.7, rel=0.02)
    unpriced = cost_finding(own, base, {}, None, level=0.95)
    assert unpriced.queries_per_dollar is None
    assert unpriced.cost_reduction == found.cost_reduction
