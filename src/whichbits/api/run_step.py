"""`whichbits run-step`: steps of a planned study, run anywhere that sees its store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.studies.specification.schema import parse
from whichbits.studies.store.manifest import FILE, read
from whichbits.studies.store.place import Place, open_store
from whichbits.studies.study import run, statuses_of

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.studies.steps.planned import Planned
    from whichbits.studies.store.store import Store


@dataclass(frozen=True)
class StepEnd:
    """How a step has ended."""

    key: str
    kind: str
    state: str
    """`done` or `failed`."""
    error: str
    """Why it failed."""


def run_step(
    store: Place, keys: Sequence[str], *, data_dir: Path | None = None, quiet: bool = False, console: Console | None = None
) -> list[StepEnd]:
    """Run these steps of the study that a store was planned for, in one process, on this machine.

    `keys` are whole keys or beginnings of them. That of a step in shards, which have keys of their own, merges them. Steps that
    are done are left as they are. The plan is made anew from the specification in the store: a machine on which it has other
    steps (another engine, other hardware) runs none. Raises UserError, also where what a step reads is not done; a step that
    fails is one of the ends.
    """
    from whichbits.studies.planning.planner import Expansion
    from whichbits.studies.planning.shards import for_jobs

    place = open_store(store)
    place.refresh()
    manifest = read(place.folder)
    chosen, source = parse(manifest.specification, str(place.folder / FILE))
    chosen = chosen.on_one_machine()
    expansion = Expansion(chosen, source, data_dir=data_dir, judge=manifest.judge)
    expansion = replace(expansion, statuses=statuses_of(expansion.probes(), place))
    plan = for_jobs(expansion.plan(), place)
    wanted = [_named(key, plan.steps, place.folder) for key in keys]
    for planned in wanted:
        for role, step in planned.reads.items():
            if not place.done(step) and step.key not in {other.step.key for other in wanted}:
                raise UserError(
                    f"run-step: {planned.step.kind} {planned.step.key[:12]} reads {step.kind} {step.key[:12]} ({role}), "
                    "which is not done",
                    remedy=f"run `whichbits run-step {store} {step.key[:12]}` first",
                )
    with place.locked_steps(planned.step for planned in wanted):
        run(replace(plan, steps=tuple(wanted)), expansion, place, quiet=quiet, console=console)
    return [_end(planned, place) for planned in wanted]


def _end(planned: Planned, store: Store) -> StepEnd:
    """How a step has ended; a shard's result is no more in the store once it is merged."""
    record = store.record(planned.step)
    merged = planned.part_of is not None and store.done(planned.part_of.step)
    return StepEnd(record.key, record.kind, "done" if merged else record.state, record.error or "")


def _named(key: str, steps: Sequence[Planned], store: Path) -> Planned:
    """The step of a key. Raises UserError where there is none, or more than one."""
    found = {planned.step.key: planned for planned in steps if planned.step.key.startswith(key)}
    if len(found) != 1:
        problem = f"{len(found)} steps begin with it" if found else "the plan on this machine has no such step"
        raise UserError(
            f"run-step: key {key!r}: {problem}",
            remedy=f"take a key of {store / FILE}, on a machine with the engine and hardware that the study was planned for",
        )
    return next(iter(found.values()))
