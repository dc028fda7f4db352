from __future__ import annotations

import numpy as np
import pytest

from whichbits.verdict.assemble import decide
from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.findings import Findings
from whichbits.verdict.looks import OpenSpeed, level_of_looks, open_speeds
from whichbits.verdict.reasons import NotScored
from whichbits.verdict.round_statistics import half_width
from whichbits.verdict.verdict import CostFinding, Decision, Recommendation

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


def found(state: str, *costs: CostFinding, recommended: tuple[Recommendation, ...] = ()) -> tuple[OpenSpeed, ...]:
    verdict = decide(Findings(base="bf16", formats={"bf16": "bf16"}), study="s", model="m")
    decisions = tuple(
        Decision(candidate=name, format="w8a8-int", state=state, reason=NotScored())  # type: ignore[arg-type]
        for name in "ab"
    )
    return open_speeds(verdict.model_copy(update={"formats": decisions, "cost": costs, "recommendations": recommended}))


def test_open_are_candidates_that_may_be_deployed_and_are_not_told_from_the_base() -> None:
    told, untold, many = cost("told", 1.01, 1.2), cost("untold", 0.99, 1.2), ("untold", "asynchronous")
    assert found("non-inferior", told, untold) == (OpenSpeed(*many, ("a",), (4, 8)),)
    assert found("inconclusive", told, untold) == (OpenSpeed(*many, ("a",), (4, 8)),)
    both = (OpenSpeed(*many, ("a", "b"), (4, 8, 16)),)
    assert found("non-inferior", untold, cost("untold", 0.9, 1.1, candidate="b")) == both, "at the loads of both"
    assert found("non-inferior", untold, cost("untold", 1.1, 1.2, candidate="b")) == (OpenSpeed(*many, ("a",), (4, 8)),)
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
    assert open_ == (OpenSpeed("told", "asynchronous", ("a", "b"), (4, 8, 16)),)
