from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from whichbits.schema.workload import Loads
from whichbits.verdict.assemble import decide
from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.findings import Findings
from whichbits.verdict.looks import OpenSpeed, level_of_looks, open_speeds
from whichbits.verdict.phases import ArrivalsFinding
from whichbits.verdict.reasons import LimitsNotShown, NotScored
from whichbits.verdict.round_statistics import half_width
from whichbits.verdict.verdict import CapacityFinding, CostFinding, Decision, NoRecommendation, Recommendation

RUNS = 20_000


def decided(logs: np.ndarray, rounds: int, level: float) -> np.ndarray:
    """Whether the first rounds of each run (runs, rounds) tell its ratio from 1."""
    own = logs[:, :rounds]
    none = np.zeros((len(own), 1))
    return np.abs(own.mean(axis=1)) > half_width(own, none, np.ones_like(none), level)


def shares(level: float) -> float:
    """Share of runs without any difference that one of two looks, after 3 and 6 rounds, calls decided."""
    logs = np.random.default_rng(0).normal(0, 0.03, (RUNS, 6))
    return float(np.mean(decided(logs, 3, level) | decided(logs, 6, level)))


def test_a_second_look_keeps_the_error() -> None:
    error = 4 * np.sqrt(0.05 * 0.95 / RUNS)
    assert shares(level_of_looks(0.95, (3, 6))) <= 0.05
    assert shares(0.95) > 0.05 + error, "the plain interval would not"


@pytest.mark.parametrize(("looks", "level"), [((), 0.95), ((3,), 0.95), ((3, 6), 0.975)])
def test_the_error_is_shared_equally(looks: tuple[int, ...], level: float) -> None:
    assert level_of_looks(0.95, looks) == pytest.approx(level, abs=1e-12)
    assert level_of_looks(0.95, ()) == 0.95, "to the last digit"


def cost(workload: str, low: float, high: float, *, candidate: str = "a", valid: bool = True) -> CostFinding:
    return CostFinding(
        candidate=candidate, workload=workload, deployment="here", mode="asynchronous", load_level="concurrency 8",
        cost_reduction=Estimate(value=(low + high) / 2, low=low, high=high), contending=(4, 8) if candidate == "a" else (8, 16),
        queries_per_dollar=None, price_per_hour=None, price_source=None, valid=valid, steps=(),
    )  # fmt: skip


def fastest(candidate: str, *not_shown_slower: str) -> Recommendation:
    return Recommendation(
        workload="told", deployment="here", mode="asynchronous", candidate=candidate, code="fastest", load="concurrency 8",
        not_shown_slower=not_shown_slower, advantage=None,
    )  # fmt: skip


def found(
    state: str, *costs: CostFinding, recommended: tuple[Recommendation, ...] = (), **others: Any
) -> tuple[OpenSpeed, ...]:
    verdict = decide(Findings(base="bf16", formats={"bf16": "bf16"}), study="s", model="m")
    decisions = tuple(
        Decision(candidate=name, format="w8a8-int", state=state, reason=NotScored())  # type: ignore[arg-type]
        for name in "ab"
    )
    given = {"formats": decisions, "cost": costs, "recommendations": recommended, **others}
    return open_speeds(verdict.model_copy(update=given))


def test_open_are_candidates_that_may_be_deployed_and_are_not_told_from_the_base() -> None:
    told, untold, many = cost("told", 1.01, 1.2), cost("untold", 0.99, 1.2), ("untold", "asynchronous")
    assert found("non-inferior", told, untold) == (OpenSpeed(*many, ("a",), Loads(in_flight=(4, 8))),)
    assert found("inconclusive", told, untold) == (OpenSpeed(*many, ("a",), Loads(in_flight=(4, 8))),)
    both = (OpenSpeed(*many, ("a", "b"), Loads(in_flight=(4, 8, 16))),)
    assert found("non-inferior", untold, cost("untold", 0.9, 1.1, candidate="b")) == both, "at the loads of both"
    assert found("non-inferior", untold, cost("untold", 1.1, 1.2, candidate="b")) == (
        OpenSpeed(*many, ("a",), Loads(in_flight=(4, 8))),
    )
    assert found("inferior", told, untold) == ()
    assert found("non-inferior", cost("slower", 0.8, 0.99)) == ()
    assert found("non-inferior", cost("invalid", 0.9, 1.1, valid=False)) == ()
    assert found("non-inferior", cost("other", 0.9, 1.1, candidate="c")) == ()


def test_one_round_leaves_everything_open() -> None:
    one = cost("first", 1, 1).model_copy(update={"cost_reduction": SingleRound(value=2.0)})
    assert [speed.candidates for speed in found("non-inferior", one)] == [("a",)]
    assert found("non-inferior", one.model_copy(update={"cost_reduction": None})) == ()


def test_open_are_those_among_which_the_fastest_is_not_told() -> None:
    costs = cost("told", 1.1, 1.3), cost("told", 1.05, 1.2, candidate="b")
    assert found("non-inferior", *costs, recommended=(fastest("a"),)) == ()
    open_ = found("non-inferior", *costs, recommended=(fastest("a", "b"),))
    assert open_ == (OpenSpeed("told", "asynchronous", ("a", "b"), Loads(in_flight=(4, 8, 16))),)


def test_limits_that_are_not_shown_leave_a_speed_open_that_is_told() -> None:
    told = cost("told", 1.1, 1.3)
    notes = LimitsNotShown(candidate="a", load="concurrency 8"), LimitsNotShown(candidate="bf16", load="concurrency 8")
    many, loads = ("told", "asynchronous"), Loads(in_flight=(4, 8))
    for note in notes:
        (one,) = found("non-inferior", told.model_copy(update={"notes": (note,)}))
        assert one == OpenSpeed(*many, (note.candidate,), loads), "of the base, the base alone"
    assert found("inferior", told.model_copy(update={"notes": notes})) == ()
    alone = told.model_copy(update={"cost_reduction": None})  # the base misses the limits at every load
    refused = NoRecommendation(
        workload="told", deployment="here", mode="asynchronous", code="limits_not_shown", candidates=("a",)
    )
    assert found("non-inferior", alone, not_recommended=(refused,)) == (OpenSpeed(*many, ("a",), loads),)
    kept = refused.model_copy(update={"code": "limits_not_kept"})
    assert found("non-inferior", alone, not_recommended=(kept,)) == ()


def arrivals(candidate: str, load_level: str = "rate 3", **given: Any) -> ArrivalsFinding:
    kind = load_level.split()[0]
    fields = {"rate": 3.0 if kind == "rate" else None, "limits": None, "latency": None, "valid": True, **given}
    return ArrivalsFinding(
        candidate=candidate, workload="w", deployment="here", load_level=load_level, kind=kind, steps=(), **fields
    )  # type: ignore[arg-type]


UNTOLD, TOLD = Estimate(value=1.0, low=0.9, high=1.1), Estimate(value=0.8, low=0.7, high=0.9)


def test_arrivals_are_open_where_limits_are_not_shown_or_without_them_latencies_are_not_told() -> None:
    rate = ("w", "rate 3", ("a",), Loads(rates=(3.0,)))
    assert found("non-inferior", arrivals=(arrivals("a", latency=UNTOLD),)) == (OpenSpeed(*rate),)
    assert found("inconclusive", arrivals=(arrivals("a", limits="open", latency=TOLD),)) == (OpenSpeed(*rate),)
    decided = (
        {"latency": TOLD},
        {"limits": "kept", "latency": UNTOLD},
        {"limits": "missed"},
        {},
        {"limits": "open", "valid": False},
    )
    for one in decided:
        assert found("non-inferior", arrivals=(arrivals("a", **one),)) == (), one
    assert found("inferior", arrivals=(arrivals("a", latency=UNTOLD),)) == ()
    assert found("inferior", arrivals=(arrivals("bf16", limits="open"),)) == (OpenSpeed("w", "rate 3", ("bf16",), rate[3]),)


def test_each_load_of_arrivals_is_open_by_itself() -> None:
    loads = arrivals("a", "ramp 1 to 4", latency=UNTOLD), arrivals("b", "trace", latency=UNTOLD), arrivals("b", latency=UNTOLD)
    assert [(one.about, one.candidates, one.loads) for one in found("non-inferior", arrivals=loads)] == [
        ("ramp 1 to 4", ("a",), Loads(ramp=True)),
        ("trace", ("b",), Loads(trace=True)),
        ("rate 3", ("b",), Loads(rates=(3.0,))),
    ]


def capacity(
    candidate: str, low: float, high: float, over: Estimate | None = None, target: float | None = None
) -> CapacityFinding:
    return CapacityFinding(
        candidate=candidate, workload="w", deployment="here", rate=(low + high) / 2, low=low, high=high, over_base=over,
        target_rate=target, runs=9, steps=(),
    )  # fmt: skip


def test_a_capacity_is_open_by_its_target_or_without_one_by_its_ratio_to_the_base() -> None:
    base, wide = capacity("bf16", 4, 5), OpenSpeed("w", "capacity", ("a",), Loads(capacity=True))
    assert found("non-inferior", capacity=(base, capacity("a", 4, 6, UNTOLD))) == (wide,)
    assert found("non-inferior", capacity=(base, capacity("a", 4, 6, None))) == (wide,), "an interval without an end"
    assert found("non-inferior", capacity=(base, capacity("a", 6, 7, TOLD))) == ()
    assert found("inferior", capacity=(base, capacity("a", 4, 6, UNTOLD))) == ()
    assert found("non-inferior", capacity=(capacity("a", 4, 6, None),)) == (), "there is nothing to compare with"
    with_target = capacity("bf16", 4, 5, target=4.5), capacity("a", 4.6, 6, UNTOLD, target=4.5)
    (one,) = found("non-inferior", capacity=with_target)
    assert one.candidates == ("bf16",), "the candidate is shown to reach it, whatever its ratio"
