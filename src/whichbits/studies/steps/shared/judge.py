"""The judge of an evaluation: named in the specification, reached over HTTP, and no part of a step's key but for what it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.studies.steps.step import StepContext

if TYPE_CHECKING:
    from whichbits.accuracy.judging import Message, Reply
    from whichbits.accuracy.task import Task
    from whichbits.engines.http.chat import Chat
    from whichbits.studies.specification.judge import JudgeChoice


def judged(task: Task, choice: JudgeChoice | None) -> Task:
    """The task with the judge that the specification names. Raises UserError where it needs one, or takes none."""
    from whichbits.accuracy.judging import Judging
    from whichbits.accuracy.kind import JudgedKind
    from whichbits.accuracy.kinds.registry import task_kind

    if not isinstance(task_kind(task.kind), JudgedKind):
        if choice is not None:
            raise UserError(f"judge: the answers of task {task.name} are not judged", remedy="leave judge out of this task")
        return task
    if choice is None:
        raise UserError(
            f"judge: the answers of task {task.name} are judged, and no judge is named",
            remedy="add judge: {url: http://HOST:PORT, model: NAME} to the task, or --judge to the command",
        )
    from whichbits.engines.http.connection import root_of

    root_of(choice.url)  # a mistake in the address is told now
    return task.model_copy(update={"judging": Judging(**choice.model_dump(mode="json", exclude_none=True))})


def names_judged(name: str) -> bool:
    """Whether answers are judged of a task or suite that whichbits ships. Raises UserError where there is none of the name."""
    from whichbits.accuracy.kind import JudgedKind
    from whichbits.accuracy.kinds.registry import task_kind
    from whichbits.accuracy.registry import expand

    return any(isinstance(task_kind(task.kind), JudgedKind) for task in expand([name]))


@dataclass(frozen=True)
class HttpJudge:
    """A judge behind an address."""

    chat: Chat
    context: StepContext

    def replies(self, conversations: Sequence[Sequence[Message]], *, seeds: Sequence[int]) -> list[Reply]:
        """The answer to each conversation; says how many are there."""
        from whichbits.accuracy.judging import Reply

        total = len(conversations)

        def count(done: int) -> None:
            self.context.progress(f"{done} of {total} judgments")

        found = self.chat.replies(conversations, seeds=seeds, progress=count)
        return [Reply(one.text, one.prompt_tokens, one.tokens) for one in found]

    def say(self, text: str) -> None:
        """As the step's progress."""
        self.context.progress(text)


def judge_of(task: Task, context: StepContext, stack: ExitStack) -> HttpJudge | None:
    """The judge of a task, reached with the key of the variable that it names; None where it has none."""
    if task.judging is None:
        return None
    from whichbits.engines.http.access import Access
    from whichbits.engines.http.chat import Chat
    from whichbits.engines.http.connection import Connection

    judging = task.judging
    connection = Connection(judging.url, judging.model, Access(os.environ.get(judging.key_variable)))
    chat = Chat(connection, max_tokens=judging.max_tokens, temperature=judging.temperature, concurrency=judging.concurrency)
    return HttpJudge(stack.enter_context(chat), context)
