"""`whichbits evaluate`: the scores of one checkpoint, or the decision on one from what another tool wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whichbits.cli.options import AsJson, DataDir, Judge, Margin, Seed, ServedName, StoreDir, judge_of
from whichbits.core.errors import UserError


def evaluate(
    model: Annotated[str | None, typer.Argument(help="Folder, hub id, or an embedded model's name.")] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Task by name, lm_eval:NAME, or a JSONL file; repeatable.")
    ] = None,
    emulated: Annotated[bool, typer.Option("--emulated", help="Run in transformers instead of the serving engine.")] = False,
    url: Annotated[str | None, typer.Option(help="Address that serves the model already; default: start a server.")] = None,
    served_model_name: ServedName = None,
    limit: Annotated[int | None, typer.Option(help="Use only the first items of each task.")] = None,
    judge: Judge = None,
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Results of another tool in place of a model: give the base's, then the candidate's."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="With --from: metric of the tasks; default: each task's usual one.")
    ] = None,
    margin: Margin = None,
    store: StoreDir = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Score one checkpoint on tasks.

    With --from decide on a candidate from results of another tool, and run nothing.
    """
    import whichbits
    from whichbits.cli.tables import console, print_json, print_results

    if not from_:
        if model is None or not task:
            missing = "model" if model is None else "task"
            raise UserError(f"{missing}: none is given", remedy="name a MODEL and a --task, or results with --from twice")
        if metric is not None or margin is not None:
            raise UserError("metric and margin: they are of imported results", remedy="leave them out, or give --from twice")
        rows = whichbits.evaluate(
            model, task, emulated=emulated, url=url, served_model_name=served_model_name, limit=limit, store=store,
            data_dir=data_dir, seed=seed, judge=judge_of(judge),
        )  # fmt: skip
        print_results(rows, as_json)
        return
    if len(from_) != 2:
        raise UserError(f"from: {len(from_)} results are given", remedy="give --from twice: the base's, then the candidate's")
    if model is not None or emulated or url is not None or limit is not None or judge is not None:
        raise UserError(
            "from: nothing is run where results are imported", remedy="leave out MODEL, --emulated, --url, --limit and --judge"
        )
    outcome = whichbits.evaluate_from(
        from_[0], from_[1], task=task, metric=metric, store=store, **({} if margin is None else {"margin": margin})
    )
    if as_json:
        print_json(outcome.verdict)
    else:
        from whichbits.reporting.terminal import summary

        summary(outcome.verdict, console(), report=outcome.report)
