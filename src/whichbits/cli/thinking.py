"""The command `thinking`: what formats do to a model in each of its thinking modes."""

from __future__ import annotations

from typing import Annotated

import typer

import whichbits
from whichbits.cli.options import AsJson, DataDir, Seed, StoreDir


def thinking(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or an embedded model's name.")],
    format: Annotated[
        list[str] | None,
        typer.Option("--format", help="Format to compare with the base; repeatable. Default: w8a8-int, w4a8-int."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe of the formats, by name or file, as openpangu; default: effort balanced.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", help="Thinking mode, as slow or off; repeatable. Default: all of the model's."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="Task asked in the chat template; repeatable. Default: humaneval_chat, mbpp_chat."),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest reply, tokens; default: the tasks' own.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only the first items of each task.")] = None,
    emulated: Annotated[bool, typer.Option("--emulated", help="Run in transformers instead of the serving engine.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let Python code run that comes with the model.")
    ] = False,
    store: StoreDir = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare formats in each thinking mode.

    Scores, lengths of replies, truncated and repetitive ones, and time.
    """
    from whichbits.cli.tables import console, print_json

    outcome = whichbits.thinking(
        model, format=format, recipe=recipe, mode=mode, task=task, max_tokens=max_tokens,
        limit=limit, emulated=emulated, store=store, data_dir=data_dir, seed=seed, trust_remote_code=trust_remote_code,
        quiet=as_json,
    )  # fmt: skip
    if as_json:
        print_json(outcome.verdict)
    else:
        from whichbits.reporting.terminal import summary

        summary(outcome.verdict, console(), report=outcome.report, serve=outcome.serve)
    if outcome.failed:
        raise typer.Exit(1)
