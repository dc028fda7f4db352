"""RULER: 13 tasks that ask for something out of a long text, made from a seed at a stated length in tokens of the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

from whichbits.accuracy.answers import generate_answers
from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.item import Item
from whichbits.accuracy.kind import TaskKind
from whichbits.accuracy.result import TaskResult, Work, reduced, summarize, text_hash
from whichbits.accuracy.ruler.fit import fit
from whichbits.accuracy.ruler.haystack import haystack, haystack_file
from whichbits.accuracy.ruler.members import GROUPS, MEMBERS, Drafts, Member, match
from whichbits.accuracy.ruler.questions import question_file
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import LanguageModel

ITEMS = 500
"""Of each of RULER's tasks, as in its paper."""

TOKENS_AT_ONCE = 2**23
"""Prompts are made, asked and forgotten in parts of about so many tokens: all of them would fill the memory."""

SHORTEST = 1024


@dataclass(frozen=True)
class Asked:
    """An item as it is asked: at the length, prompt and answer together."""

    name: str
    prompt: str
    answers: tuple[str, ...]
    cluster: str


class Ruler(TaskKind):
    """RULER's tasks, one or several at a length; a source is written `niah_single_1,vt@8192` or `all@4096`."""

    name = "ruler"
    ordered = True
    metrics: ClassVar[tuple[str, ...]] = ("string_match",)
    options: ClassVar[tuple[str, ...]] = ("metric", "chat_template")

    def define(self, request: TaskRequest) -> Task:
        """The tasks and the length that a user asks for, 500 items of each."""
        return super().define(request).model_copy(update={"items": ITEMS})

    def check(self, task: Task) -> None:
        """Raise UserError for a source that names no tasks or no length."""
        source_of(task)
        self.check_metric(task)

    def with_items(self, task: Task, count: int, *, seed: int) -> Task:
        """The task with more items of each of RULER's tasks."""
        return task if count <= (task.items or ITEMS) else task.model_copy(update={"items": count})

    def most(self, task: Task, available: int) -> int | None:
        """Items have no end, but for questions."""
        return available if any(member.asks for member in source_of(task)[0]) else None

    def request_length(self, task: Task) -> int | None:
        """The length that the source states."""
        return source_of(task)[1]

    def may_think(self, task: Task) -> bool:
        """No: RULER begins the answer itself."""
        return False

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """The haystack, where there is one, and the questions. Raises UserError where a file of questions is not there."""
        members = source_of(task)[0]
        asked = [question_file(member.name, data_dir) for member in members if member.asks]
        text = [file for file in [haystack_file(data_dir)] if file]
        return {file.name: file for file in [*asked, *text]}

    def evaluate(
        self,
        task: Task,
        model: LanguageModel,
        tokenizer: PromptTokenizer,
        *,
        limit: int | None,
        seed: int,
        data_dir: Path | None,
        kept: Kept,
    ) -> TaskResult:
        """Mean score of the items of all members. The prompts of kept items are made again, and not asked."""
        members, length = source_of(task)
        self.data_files(task, data_dir)
        check_length(task, length, model.max_length)
        if task.order is not None:  # items are drawn at random: the first ones are a sample, of every member alike
            limit = limit and -(-limit // len(members))
            kept = replace(kept, count=-(-kept.count // len(members)))
        text = haystack(data_dir)
        drafted = [Drafts(member, length, f"ruler/{task.version}/{seed}", text, data_dir) for member in members]
        there = [drafts.count(task.items or ITEMS) for drafts in drafted]
        available = sum(there)
        counts = [min(count, limit or count) for count in there]
        rows = kept.rows(number for count in counts for number in range(count))
        made, work = list[Item | None](), Work()
        for drafts, count in zip(drafted, counts, strict=True):
            first, every = len(made), not drafts.member.asks
            made += [None] * count
            answered = task.model_copy(update={"max_tokens": drafts.member.max_tokens})
            numbers = [number for number in range(count) if rows.known[first + number] or first + number in rows.asked]
            items = asked_items(drafts, numbers, tokenizer, chat=task.chat_template, prefixed=len(members) > 1)
            numbered = zip(numbers, items, strict=True)
            while part := dict(islice(numbered, max(1, TOKENS_AT_ONCE // length))):
                asked = {number: one for number, one in part.items() if first + number in rows.asked}
                prompts = [one.prompt for one in asked.values()]
                samples, tokens = generate_answers(answered, model, tokenizer, prompts, seed=seed)
                scored = [[_item(*two, every) for two in zip(asked.values(), said, strict=True)] for said in samples]
                found = dict(zip(asked, reduced(task, scored), strict=True))
                for number, one in part.items():
                    made[first + number] = found.get(number) or _item(one, "", every)
                work += tokens
        return summarize(
            task,
            kept.put(made, rows),
            kept.and_before(work),
            available=available,
            most=self.most(task, available),
            source_version=f"haystack: {text.name}",
            rows=rows,
        )


def source_of(task: Task) -> tuple[list[Member], int]:
    """RULER's tasks and the length in tokens that a task names. Raises UserError."""
    names, _, length = task.source.partition("@")
    if not re.fullmatch("[0-9]{1,8}", length) or int(length) < SHORTEST:
        raise UserError(
            f"source: {task.source!r} states no length of {SHORTEST} tokens or more (task {task.name})",
            remedy="write tasks and length, as niah_single_1,vt@8192 or all@4096",
        )
    listed = [name for part in names.split(",") for name in GROUPS.get(part.strip(), (part.strip(),))]
    for name in listed:
        if name not in MEMBERS:
            raise UserError(
                f"source: RULER has no task {name!r} (task {task.name})",
                remedy=f"choose from {', '.join([*GROUPS, *MEMBERS])}",
            )
    return [MEMBERS[name] for name in dict.fromkeys(listed)], int(length)


def check_length(task: Task, length: int, max_length: int) -> None:
    """Raise UserError where requests of `length` tokens do not fit the engine."""
    if length > max_length:
        raise UserError(
            f"task: {task.name} asks with {length} tokens, and the engine takes {max_length}",
            remedy=f"set max_length to {length}, or choose a shorter one of RULER's lengths",
        )


def asked_items(
    drafts: Drafts, numbers: Iterable[int], tokenizer: PromptTokenizer, *, chat: bool, prefixed: bool
) -> Iterator[Asked]:
    """The items of these numbers at their length. Raises UserError where even the shortest form of one is too long.

    The units of item 0 are where the search for the others' begins, also where it is none of them.
    """
    start: int | None = None
    for number in numbers:
        if start is None:
            start = _units(drafts, 0, tokenizer, None, chat=chat)
        units = _units(drafts, number, tokenizer, start, chat=chat) if number else start
        draft = drafts.draft(number)
        name = f"{drafts.member.name}/{number}" if prefixed else str(number)
        cluster = name if draft.cluster is None else f"{drafts.member.name}/{draft.cluster}"
        yield Asked(name, _prompt(tokenizer, draft.write(units), draft.begun, chat=chat), draft.answers, cluster)


def _units(drafts: Drafts, number: int, tokenizer: PromptTokenizer, start: int | None, *, chat: bool) -> int:
    """Units of filler of an item; the search for them begins at `start`. Raises UserError as `asked_items`."""
    draft = drafts.draft(number)

    def tokens(units: int) -> int:
        prompt = _prompt(tokenizer, draft.write(units), draft.begun, chat=chat)
        return len(tokenizer.encode(prompt, special=False if chat else None))

    budget = drafts.length - drafts.member.max_tokens
    units = fit(tokens, least=draft.least, most=draft.most, budget=budget, start=start)
    if units is None:
        raise UserError(
            f"source: item {number} of RULER's {drafts.member.name} does not fit {drafts.length} tokens",
            remedy="choose a greater length",
        )
    return units


def _prompt(tokenizer: PromptTokenizer, request: str, begun: str, *, chat: bool) -> str:
    """The request, and the answer begun, as RULER does for models with and without a chat template."""
    if not chat:
        return f"{request} {begun}"
    return tokenizer.chat([{"role": "user", "content": request}, {"role": "assistant", "content": begun}], answer_begun=True)


def _item(asked: Asked, reply: str, every: bool) -> Item:
    target = " | ".join(asked.answers)
    return Item(
        item=asked.name,
        prompt_hash=text_hash(asked.prompt),
        target_hash=text_hash(target),
        cluster=asked.cluster,
        score=match(reply, asked.answers, every=every),
        prediction=reply,
        target=target,
    )
