"""The judge of answers: named in the specification, reached over HTTP, and no part of a step's key but for what it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.step import canonical_json
from whichbits.studies.steps.step import StepContext

if TYPE_CHECKING:
    from whichbits.accuracy.judging import Message, Reply
    from whichbits.accuracy.task import Task
    from whichbits.engines.http.chat import Chat, ChatReply
    from whichbits.studies.specification.judge import JudgeChoice

KEPT = "judgments.jsonl"
"""What a killed run had of a step's judgments: a line each, in the folder of what the step keeps."""


def is_judged(task: Task) -> bool:
    """Whether a judge compares the answers of a task."""
    from whichbits.accuracy.kind import JudgedKind
    from whichbits.accuracy.kinds.registry import task_kind

    return isinstance(task_kind(task.kind), JudgedKind)


def judged(task: Task, choice: JudgeChoice | None) -> Task:
    """The task with the judge that the specification names. Raises UserError where it needs one, or takes none."""
    from whichbits.accuracy.judging import Judging

    if not is_judged(task):
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
    stated = choice.model_dump(mode="json", exclude_none=True, exclude={"against_base"})
    return task.model_copy(update={"judging": Judging(**stated)})


def names_judged(name: str) -> bool:
    """Whether answers are judged of a task or suite that whichbits ships. Raises UserError where there is none of the name."""
    from whichbits.accuracy.registry import expand

    return any(is_judged(task) for task in expand([name]))


@dataclass(frozen=True)
class HttpJudge:
    """A judge behind an address. What it has said outlives a killed run, since it costs money."""

    chat: Chat
    context: StepContext
    kept: Path | None
    """Folder of what the step keeps."""

    def replies(self, conversations: Sequence[Sequence[Message]], *, seeds: Sequence[int]) -> list[Reply]:
        """The answer to each conversation; those that a killed run had are not asked for again. Says how many are there."""
        from whichbits.accuracy.judging import Reply

        keys = [_key(*one) for one in zip(conversations, seeds, strict=True)]
        before = self._before()
        missing = [place for place, key in enumerate(keys) if key not in before]
        done = len(keys) - len(missing)
        with ExitStack() as stack:
            file = None
            if self.kept is not None:
                self.kept.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((self.kept / KEPT).open("a", encoding="utf-8"))

            def keep(place: int, reply: ChatReply) -> None:
                nonlocal done
                done += 1
                if file is not None:
                    file.write(json.dumps({"key": keys[missing[place]], **asdict(reply)}) + "\n")
                    file.flush()
                self.context.progress(f"{done} of {len(keys)} judgments")

            asked = self.chat.replies([conversations[n] for n in missing], seeds=[seeds[n] for n in missing], answered=keep)
        found = dict(zip(missing, (Reply(one.text, one.prompt_tokens, one.tokens) for one in asked), strict=True))
        return [found[place] if place in found else before[key] for place, key in enumerate(keys)]

    def _before(self) -> Mapping[str, Reply]:
        """What a killed run had, by what was asked; a line that it did not end is none."""
        from whichbits.accuracy.judging import Reply

        file = None if self.kept is None else self.kept / KEPT
        if file is None or not file.is_file():
            return {}
        lines = file.read_text(encoding="utf-8").split("\n")
        if lines.pop():
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        rows = [json.loads(line) for line in lines]
        return {row["key"]: Reply(row["text"], row["prompt_tokens"], row["tokens"]) for row in rows}

    def say(self, text: str) -> None:
        """As the step's progress."""
        self.context.progress(text)


def _key(conversation: Sequence[Message], seed: int) -> str:
    """What is asked of the judge; which judge, and how long it may write, are parts of the step's key."""
    return hashlib.sha256(canonical_json([seed, *map(dict, conversation)]).encode()).hexdigest()


def judge_of(task: Task, kept: Path | None, context: StepContext, stack: ExitStack) -> HttpJudge | None:
    """The judge of a task, reached with the key of the variable that it names; None where it has none. `kept` is the job's."""
    if task.judging is None:
        return None
    from whichbits.engines.http.access import Access
    from whichbits.engines.http.chat import Chat
    from whichbits.engines.http.connection import Connection

    judging = task.judging
    connection = Connection(judging.url, judging.model, Access(os.environ.get(judging.key_variable)))
    chat = Chat(connection, max_tokens=judging.max_tokens, temperature=judging.temperature, concurrency=judging.concurrency)
    return HttpJudge(stack.enter_context(chat), context, kept)
