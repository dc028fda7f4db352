"""What servers at the user's addresses cannot do, and what is measured instead: said before a run asks them for more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.engines.http.connection import Connection
from whichbits.studies.steps.shared.on_engine import trusted

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.accuracy.task import Task
    from whichbits.schema.step import Step
    from whichbits.studies.planning.plan import Plan
    from whichbits.studies.planning.planner import Expansion
    from whichbits.studies.store.store import Store

SPEEDS = frozenset({"serve", "prefill_decode"})
SCORES = frozenset({"evaluate", "evaluate_shard", "generate", "generate_shard"})


def say_lacking(expansion: Expansion, plan: Plan, store: Store, console: Console) -> None:
    """Print a line for each thing that servers at addresses cannot do of what a plan still asks of them."""
    for line in lacking(expansion, [planned.step for planned in plan.missing(store)]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def lacking(expansion: Expansion, missing: Sequence[Step]) -> Iterator[str]:
    """A sentence for each thing that the steps which are missing ask of a server and it does not do.

    Servers that are started here are not asked: their steps say it.
    """
    from whichbits.engines.http.access import access_from_environment

    if expansion.command is not None or not missing:
        return
    kinds = {step.kind for step in missing if step.labels.engine != "emulated"}
    for name, who in expansion.servers.items():
        connection = Connection(who.address, who.model, access_from_environment())
        if kinds & SPEEDS:
            yield from (f"{name}: {what}" for what in _of_speeds(connection))
        if kinds & SCORES:
            yield from (f"{name}: {what}" for what in _of_scores(connection, expansion))


def _of_speeds(connection: Connection) -> Iterator[str]:
    from whichbits.serving.opening import ask_once

    try:
        found = ask_once(connection)
    except UserError as error:
        yield f"no speeds are measured: {error}"
        return
    yield from (f"the server {what}" for what in found.instead)


def _of_scores(connection: Connection, expansion: Expansion) -> Iterator[str]:
    from whichbits.accuracy.kinds.registry import task_kind
    from whichbits.accuracy.registry import expand
    from whichbits.engines.http.scorable import why_not_scored

    def tokenizer() -> Any:
        from whichbits.models.tokenization import load_tokenizer

        return load_tokenizer(expansion.model.path, trust_remote_code=trusted(expansion))

    def scored(task: Task) -> bool:
        return task_kind(task.kind).reads_logprobs(task)

    if (why := why_not_scored(connection, logprobs=False, tokenizer=tokenizer)) is not None:
        yield f"nothing is scored or generated there: {why}"
        return
    named = [task.name for task, _ in expansion.tasks if scored(task)]
    if named and (why := why_not_scored(connection, logprobs=True, tokenizer=tokenizer)) is not None:
        instead = [task.name for task in expand(["generated"]) if not scored(task)]
        yield (
            f"{', '.join(named)} compare log-probabilities and are not scored there ({why}); "
            f"tasks whose answers are generated are, as {', '.join(instead)}"
        )
