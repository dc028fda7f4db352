"""Which steps run in one process, and which can run at the same time: a plan in stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from whichbits.schema.step import Step
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.step import Kind

Process = tuple[Planned, ...]
"""Steps that run together."""


def process_of(planned: Planned, kinds: Mapping[str, Kind]) -> tuple[str, str] | None:
    """What steps of one process have in common: shared work, or a measurement session; None for one that runs alone."""
    kind = planned.step.kind
    if planned.needs.alone:
        return kind, "session"
    together = kinds[kind].together
    shared = None if together is None else together(planned.step)
    return None if shared is None else (kind, shared)


def stages(steps: Iterable[Planned], kinds: Mapping[str, Kind]) -> tuple[tuple[Process, ...], ...]:
    """These steps, each in a stage after those that it reads, and what measures speed in one after all others.

    A step that is not among them is there already.
    """
    level: dict[str, int] = {}
    processes: dict[tuple[int, bool, str, str], list[Planned]] = {}
    for planned in steps:  # each comes after what it reads
        read: list[Step] = list(planned.reads.values())
        level[planned.step.key] = stage = 1 + max((level.get(step.key, 0) for step in read), default=0)
        name = process_of(planned, kinds) or (planned.step.kind, planned.step.key)
        processes.setdefault((0 if planned.needs.alone else stage, planned.needs.alone, *name), []).append(planned)
    order = sorted({key[:2] for key in processes}, key=lambda one: (one[1], one[0]))
    return tuple(tuple(tuple(process) for key, process in processes.items() if key[:2] == one) for one in order)
