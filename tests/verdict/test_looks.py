from __future__ import annotations

import numpy as np
import pytest

from whichbits.verdict.assemble import decide
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.findings import Findings
from whichbits.verdict.looks import level_of_looks, open_workloads
from whichbits.verdict.reasons import NotScored
from whichbits.verdict.round_statistics import half_width
from whichbits.verdict.verdict import CostFinding, Decision

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
        candidate=candidate, workload=workload, deployment="here", mode="synchronous", load_level="synchronous",
        cost_reduction=Estimate(value=(low + high) / 2, low=low, high=high), queries_per_dollar=None, price_per_hour=None,
        price_source=None, valid=valid, steps=(),
    )  # fmt: skip


def test_open_are_workloads_on_which_a_candidate_that_may_be_deployed_is_not_told_from_the_base() -> None:
    verdict = decide(Findings(base="bf16", formats={"bf16": "bf16"}), study="s", model="m")

    def of(state: str, *costs: CostFinding) -> frozenset[str]:
        decision = Decision(candidate="a", format="w8a8-int", state=state, reason=NotScored())  # type: ignore[arg-type]
        return open_workloads(verdict.model_copy(update={"formats": (decision,), "cost": costs}))

    told, untold = cost("told", 1.01, 1.2), cost("untold", 0.99, 1.2)
    assert of("non-inferior", told, untold) == {"untold"}
    assert of("inconclusive", told, untold) == {"untold"}
    assert of("inferior", told, untold) == frozenset()
    assert of("non-inferior", cost("slower", 0.8, 0.99)) == frozenset()
    assert of("non-inferior", cost("invalid", 0.9, 1.1, valid=False)) == frozenset()
    assert of("non-inferior", cost("other", 0.9, 1.1, candidate="b")) == frozenset()
