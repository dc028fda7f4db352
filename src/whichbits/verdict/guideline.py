"""The recommendations as a short table: which format for which kind of use."""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.verdict.verdict import GuidelineRow, Recommendation


def guideline(recommendations: Sequence[Recommendation]) -> tuple[GuidelineRow, ...]:
    """One row for each mode, deployment and best candidate, with the workloads it is best for, synchronous first."""
    groups: dict[tuple[str, str, str], list[Recommendation]] = {}
    for entry in sorted(recommendations, key=lambda entry: entry.mode, reverse=True):
        groups.setdefault((entry.mode, entry.deployment, entry.candidate), []).append(entry)
    return tuple(
        GuidelineRow(
            mode=entries[0].mode,
            deployment=entries[0].deployment,
            workloads=tuple(entry.workload for entry in entries),
            best=entries[0].candidate,
            next=_shared([entry.runner_up for entry in entries]),
        )
        for entries in groups.values()
    )


def _shared(names: Sequence[str | None]) -> str | None:
    return names[0] if len(set(names)) == 1 else None
