"""Speeds of another tool as a study: a base and a candidate, compared where their load was the same, and refused where not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.schema.labels import IMPORTED, Labels
from whichbits.serving.importers.registry import read
from whichbits.serving.importers.results import workload_of
from whichbits.studies.imported.study import Part, judge, names
from whichbits.studies.steps.shared.imported_speeds import notes_on, refuse_differences, result_of_round, steps_of
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.schema.deployment import Deployment
    from whichbits.verdict.verdict import Verdict

NAME = "imported"
"""Of the workload, and of the deployment."""


def judge_imported_speeds(
    base: Path, candidate: Path, store: Store, *, command: str, deployment: Deployment | None = None
) -> Verdict:
    """The verdict on the candidate, from what another tool measured of both; their requests are kept in `store` as steps.

    Where `store` has imported scores of the same two, it is on both. Raises UserError, which names a field and both values,
    where the two were not measured by one tool, on the same hardware and engine, at the same loads and lengths.
    """
    runs = (read(base), read(candidate))
    refuse_differences(*runs)
    called = names("serve", runs[0].model, runs[1].model, store)
    labels = Labels(candidate=called[1], workload=NAME, deployment=NAME, engine=IMPORTED, format=runs[1].model)
    steps = tuple(steps_of(*runs, labels))
    with store.locked():
        for step in steps:
            if not store.done(step):
                partial = store.partial(step)
                result = result_of_round(step, *runs, partial)
                store.finish(step, partial, result.summary, result.provenance)
        return judge(
            Part(
                kind="serve",
                base=called[0],
                candidate=called[1],
                models=(runs[0].model, runs[1].model),
                steps=steps,
                notes=notes_on(runs),
                margin=None,
                command=command,
                workloads={NAME: workload_of([load for run in runs for load in run.loads], NAME)},
                deployments={} if deployment is None else {NAME: deployment},
            ),
            store,
        )
