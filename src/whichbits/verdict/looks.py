"""Repeated looks at speeds: rounds are added where a comparison is open, and intervals are widened to keep the error."""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.verdict.estimates import Estimate
from whichbits.verdict.verdict import Verdict


def level_of_looks(level: float, looks: Sequence[int]) -> float:
    """Confidence of each interval so that those of all `looks` (rounds at each) hold together with confidence `level`.

    The error is shared equally (Bonferroni). That holds whatever decides whether there is another look.
    """
    return 1 - (1 - level) / len(looks) if len(looks) > 1 else level


def open_workloads(verdict: Verdict) -> frozenset[str]:
    """Workloads on which a candidate that may be deployed is neither shown faster nor shown slower than the base.

    Those that are inferior or have failed are not asked about, nor those whose measurements are not valid.
    """
    able = {decision.candidate for decision in verdict.formats if decision.state in ("non-inferior", "inconclusive")}
    return frozenset(
        found.workload
        for found in verdict.cost
        if found.candidate in able
        and found.valid
        and isinstance(found.cost_reduction, Estimate)
        and found.cost_reduction.low <= 1 <= found.cost_reduction.high
    )
