"""What an evaluation returns: a summary, and one row an item."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

from whichbits.accuracy.floor_ceiling import uninformative
from whichbits.accuracy.item import Item
from whichbits.accuracy.reducers.reducer import Answer
from whichbits.accuracy.reducers.registry import reducer
from whichbits.accuracy.replies.measure import Reply
from whichbits.accuracy.replies.measured import measured
from whichbits.accuracy.replies.measured import summary as replies_of
from whichbits.accuracy.rescaled import rescaled
from whichbits.accuracy.task import Task
from whichbits.schema.evaluate import EvaluateItem, EvaluateSummary, Judged, RepliedItem, Sampled, SampledItem


@dataclass(frozen=True)
class Work:
    """Tokens that an evaluation sent and received."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    replies: tuple[tuple[str, Reply], ...] = ()
    """In a thinking mode: whole replies, each with the hash of its prompt."""
    seconds: float = 0.0
    """Of generating them."""

    def __add__(self, other: Work) -> Work:
        return Work(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.replies + other.replies,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class Rows:
    """The items of a run in their order: which are known already, and which are those of its shard."""

    known: tuple[bool, ...]
    own: range
    """Places of the shard's; of a run that is no shard all."""
    kept: int
    """Items of each subtask that are known."""

    @cached_property
    def asked(self) -> frozenset[int]:
        """Places of the items that are asked."""
        return frozenset(place for place in self.own if not self.known[place])


@dataclass(frozen=True)
class TaskResult:
    """An evaluated task, or a shard of one: its items, and what else its summary says; see `summarize`."""

    task: Task
    items: tuple[Item, ...]
    work: Work
    """Without the replies, which are measured in the items."""
    available: int
    most: int | None
    source_version: str | None = None
    lm_eval: str | None = None
    sandbox: str | None = None
    judged: Judged | None = None
    taken: Rows | None = field(default=None, compare=False)
    """Which items were asked; None where all were."""

    @property
    def kept(self) -> int:
        """Items of each subtask that were found by an earlier run, and not asked again."""
        return 0 if self.taken is None else self.taken.kept

    @cached_property
    def summary(self) -> EvaluateSummary:
        """Mean score, its standard error (sd / √n, n − 1 in the variance), chance, tokens an item.

        `uninformative` is why the task says nothing where this model is the base, or None.
        """
        task, items, n = self.task, self.items, len(self.items)
        scores = [item.score for item in items]
        score = statistics.fmean(scores)
        chance = task.chance if task.chance is not None else statistics.fmean(item.chance for item in items)
        replies = None if task.mode is None else replies_of(items, samples=task.samples, seconds=self.work.seconds)
        return EvaluateSummary(
            task=task.name,
            version=task.version,
            kind=task.kind,
            metric=task.metric,
            n=n,
            available=self.available,
            score=score,
            stderr=statistics.stdev(scores) / math.sqrt(n) if n > 1 else None,
            chance=chance,
            rescaled=rescaled(task, items),
            uninformative=uninformative(score, chance),
            prompt_tokens=self.work.prompt_tokens / n,
            generated_tokens=self.work.generated_tokens / n,
            sampled=_sampled(task, items),
            most=self.most,
            source_version=self.source_version,
            lm_eval=self.lm_eval,
            sandbox=self.sandbox,
            judged=self.judged,
            mode=None if task.mode is None else task.mode.name,
            replies=replies,
        )

    def rows(self) -> list[EvaluateItem]:
        """Rows of items.parquet: each a `RepliedItem` in a thinking mode, a `SampledItem` where it has several answers."""
        row: type[EvaluateItem] = EvaluateItem
        if any(item.replies for item in self.items):
            row = RepliedItem
        elif any(item.sample_scores for item in self.items):
            row = SampledItem
        names = [field.name for field in fields(row)]
        return [row(**{name: getattr(item, name) for name in names}) for item in self.items]


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal; the same function as lm-evaluation-harness's `hash_string`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items with a number appended to those whose name occurred before (a data set that holds a document twice)."""
    seen: Counter[str] = Counter()
    named = []
    for item in items:
        seen[item.item] += 1
        named.append(item if seen[item.item] == 1 else replace(item, item=f"{item.item}#{seen[item.item]}"))
    return tuple(named)


def reduced(task: Task, samples: Sequence[Sequence[Item]]) -> list[Item]:
    """One item each of its answers: `samples` holds the items of the first answers, of the second ones, and so on.

    Raises ValueError where they are not answers to the same prompts.
    """
    if len(samples) == 1:
        return list(samples[0])
    reduce = reducer(task.reducer)
    made = []
    for answers in zip(*samples, strict=True):
        first = answers[0]
        if any((one.item, one.prompt_hash, one.target_hash) != (first.item, first.prompt_hash, first.target_hash)
               for one in answers):  # fmt: skip
            raise ValueError(f"{task.name}: the samples of item {first.item} answer different prompts")
        votes = [Answer(one.score, (one.prediction if one.vote is None else one.vote).strip()) for one in answers]
        made.append(
            replace(
                first,
                score=reduce(votes),
                sample_scores=tuple(one.score for one in answers),
                sample_predictions=tuple(one.prediction for one in answers),
            )
        )
    return made


def variances(scores: Sequence[Sequence[float]]) -> tuple[float | None, float]:
    """Variance of scores between items and within them, from the answers' scores (items, samples), without bias.

    Within: mean over items of the variance of an item's answers. Between: the variance of the items' means less what the
    answers add to it, within / samples; not below 0, and None for one item. The squared standard error of the mean score is
    (between + within / samples) / items: one-way analysis of variance, as in Miller, arXiv 2411.00640, section 3.
    """
    within = statistics.fmean(statistics.variance(answers) for answers in scores)
    if len(scores) < 2:
        return None, within
    spread = statistics.variance(statistics.fmean(answers) for answers in scores)
    return max(0.0, spread - within / len(scores[0])), within


def _sampled(task: Task, items: Sequence[Item]) -> Sampled | None:
    """What a summary says of sampled answers; nothing of greedy ones."""
    if task.temperature == 0:
        return None
    if task.samples == 1:
        return Sampled(**task.sampling.model_dump())
    between, within = variances([item.sample_scores for item in items])
    answers = statistics.fmean(statistics.fmean(item.sample_scores) for item in items)
    return Sampled(**task.sampling.model_dump(), sample_mean=answers, variance_between=between, variance_within=within)


def summarize(
    task: Task,
    items: Sequence[Item],
    work: Work,
    *,
    available: int,
    most: int | None,
    source_version: str | None = None,
    lm_eval: str | None = None,
    sandbox: str | None = None,
    judged: Judged | None = None,
    rows: Rows | None = None,
) -> TaskResult:
    """The result of a task's items, or of a shard of them.

    `available` is how many items the task has without a limit, `most` how many it can have. Raises ValueError for a score that
    is not from 0 to 1.
    """
    items = distinct(items)
    if task.mode is not None:
        items = measured(items, work.replies)
    outside = [item for item in items if not 0 <= item.score <= 1]
    if outside:
        raise ValueError(f"{task.name}: metric {task.metric} gives {outside[0].score} on item {outside[0].item}, not 0 to 1")
    counted = replace(work, replies=())
    return TaskResult(task, items, counted, available, most, source_version, lm_eval, sandbox, judged, rows)
