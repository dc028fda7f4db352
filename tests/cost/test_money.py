"""Dollars of rates and prices, by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest

from whichbits.core.errors import UserError
from whichbits.cost.money import (
    Replica,
    break_even_price,
    cheapest_by_rate,
    means,
    parse_weights,
    payback,
    replicas,
    token_prices,
    usd_per_query,
)


def test_a_query_costs_its_time() -> None:
    assert usd_per_query(2.0, 3.60) == pytest.approx(0.0005)
    assert usd_per_query(2.0, 3.60, utilisation=0.5) == pytest.approx(0.001)


def test_tokens_add_up_to_the_query() -> None:
    found = token_prices(0.001, 1000, 250, output_ratio=4)
    assert found.input == pytest.approx(0.5)
    assert found.output == pytest.approx(2.0)
    assert found.blended == pytest.approx(0.8)
    assert (found.input * 1000 + found.output * 250) / 1e6 == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("rate", "used", "count"), [(0.1, 1, 1), (2, 1, 1), (2.0001, 1, 2), (6, 1, 3), (6, 0.6, 5), (0.3, 0.1, 2)]
)
def test_replicas_are_whole(rate: float, used: float, count: int) -> None:
    assert replicas(rate, 2.0, used) == count


def test_a_whole_number_of_replicas_is_not_one_more_by_rounding() -> None:
    assert [replicas(n * 0.7, 0.7) for n in range(1, 200)] == list(range(1, 200))


def test_the_staircase_is_that_of_every_rate() -> None:
    options = [Replica("bf16", 1.0, 2.0), Replica("w8a8", 1.6, 2.0), Replica("w4a16", 2.5, 4.0)]
    found = cheapest_by_rate(options, 12.0)
    assert (found[0].above, found[-1].up_to) == (0.0, 12.0)
    assert [a.up_to for a in found[:-1]] == [b.above for b in found[1:]]
    for rate in np.random.default_rng(0).uniform(0.01, 12, 500):
        least = min(option.usd_per_hour_at(rate, 1.0) for option in options)
        names = {option.name for option in options if math.isclose(option.usd_per_hour_at(rate, 1.0), least)}
        (here,) = [one for one in found if one.above < rate <= one.up_to]
        assert set(here.names) == names
    assert found[0].names == ("bf16", "w8a8"), "one replica of either does, until one is not enough"
    assert found[0].up_to == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("dollars", "last"),
    [
        ((2.0, 2.0, 4.0), ("w8a8",)),
        ((1.6, 2.56, 4.0), ("bf16", "w8a8", "w4a16")),  # a query costs the same on each
        ((1.60001, 2.56, 4.0), ("w8a8", "w4a16")),  # nearly
    ],
)
def test_a_rate_of_very_many_replicas_is_decided_by_the_cost_of_a_query(dollars: Sequence[float], last: Sequence[str]) -> None:
    names, rates = ("bf16", "w8a8", "w4a16"), (1.0, 1.6, 2.5)
    options = [Replica(*each) for each in zip(names, rates, dollars, strict=True)]
    began = time.perf_counter()
    found = cheapest_by_rate(options, 1e9)
    assert time.perf_counter() - began < 1.0
    assert (found[-1].up_to, found[-1].names) == (1e9, last)
    assert found[-1].usd_per_hour == pytest.approx(1e9 * min(usd / rate for usd, rate in zip(dollars, rates, strict=True)))
    for rate in np.random.default_rng(0).uniform(0.01, 10_000, 1000):
        cost = {option.name: option.usd_per_hour_at(rate, 1.0) for option in options}
        (here,) = [one for one in found if one.above < rate <= one.up_to]
        most = 1e-9 if rate < 1600 else 2e-3
        assert all(cost[name] == pytest.approx(min(cost.values()), rel=most) for name in here.names)


def test_means_of_reductions() -> None:
    found = means({"rag": 4.0, "chat": 1.0}, {"rag": 1.0, "chat": 3.0}, {"rag": 0.002, "chat": 0.001})
    assert found.arithmetic == pytest.approx(2.5)
    assert found.geometric == pytest.approx(2.0)
    assert found.weighted == pytest.approx((0.002 + 0.003) / (0.0005 + 0.003))
    assert means({"rag": 4.0}).weighted is None


def test_when_a_checkpoint_has_paid_for_itself() -> None:
    assert payback(10.0, 0.002, 0.001) == pytest.approx(10_000)
    assert payback(10.0, 0.001, 0.001) is None


def test_the_price_at_which_two_cost_the_same() -> None:
    price = break_even_price(4.0, 2.5, usd_per_query(1.6, 2.0))
    assert price == pytest.approx(3.125)
    assert usd_per_query(2.5, price) == pytest.approx(usd_per_query(1.6, 2.0))


def test_weights() -> None:
    assert parse_weights(["rag=3", "chat = 0.5"]) == {"rag": 3.0, "chat": 0.5}
    for wrong in ("rag", "rag=0", "rag=-1", "=3", "rag=inf", "rag=x"):
        with pytest.raises(UserError, match="is not WORKLOAD=WEIGHT"):
            parse_weights([wrong])
