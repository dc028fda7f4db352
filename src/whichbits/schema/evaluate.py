"""What `evaluate` steps take and return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, field_serializer

from whichbits.schema.frozen import Stored
from whichbits.schema.inputs import EngineInputs, EngineLocal, Inputs
from whichbits.schema.sampling import Sampling
from whichbits.schema.served_weights import Agreement
from whichbits.schema.summary import Summary
from whichbits.schema.thinking import Replies

TaskT = TypeVar("TaskT", bound=BaseModel)
"""A task, as `accuracy` declares it."""

JUDGE_PLACES = ("baseline", "url", "key_variable", "concurrency", "prompt_price", "output_price")
"""What of a task's judge says where it is and at what price, not what."""


def task_in_key(task: BaseModel) -> dict[str, Any]:
    """A task as it is in a key: without how many items it makes, and where its judge is."""
    stated = {name: value for name, value in task.model_dump(mode="json").items() if name != "items"}
    if judging := stated.get("judging"):
        stated["judging"] = {name: value for name, value in judging.items() if name not in JUDGE_PLACES}
    return stated


class EvaluateInputs(EngineInputs, Generic[TaskT]):
    """A checkpoint in an engine, and a task; how many items are wanted is no part of them."""

    if_given: ClassVar[frozenset[str]] = EngineInputs.if_given | {"packages"}

    task: TaskT
    """Its source by name alone, where that is a file; in the key as `task_in_key` has it."""
    data: str | None
    """Hash of the files that it reads; None where it reads none."""
    seed: int
    repeat: int
    """Which run of several, from 0."""
    packages: Mapping[str, str] | None = None
    """In a thinking mode: versions of the packages that bring measures of replies; None where all are ours."""

    @field_serializer("task")
    def _in_the_key(self, task: TaskT) -> dict[str, Any]:
        return task_in_key(task)


class EvaluateLocal(EngineLocal, Generic[TaskT]):
    """The task with its source's path, and where its data are."""

    task: TaskT
    data_dir: Path | None = None


class Imported(Stored):
    """Scores that another tool has written."""

    tool: str
    task: str
    metric: str
    rows: str
    """Hash of its items."""
    model: str


class ImportedInputs(Inputs):
    """Inputs of a step whose result is another tool's."""

    imported: Imported


@dataclass(frozen=True)
class EvaluateItem:
    """A row of `items.parquet`; two runs are paired on `item`, and must agree on `prompt_hash` and `target_hash`."""

    item: str
    prompt_hash: str
    target_hash: str
    cluster: str
    """Items of one cluster are not independent of each other (questions about one passage)."""
    score: float
    """From 0 (wrong) to 1 (right)."""
    prediction: str
    target: str


@dataclass(frozen=True)
class SampledItem(EvaluateItem):
    """The same where an item has several answers, in the order of the samples; `prediction` is then the first."""

    sample_scores: tuple[float, ...] = ()
    sample_predictions: tuple[str, ...] = ()


@dataclass(frozen=True)
class RepliedItem(SampledItem):
    """The same where the task is asked in a thinking mode."""

    measured: ClassVar[str] = "replies"
    """The field whose entries are columns of their own."""

    replies: Mapping[str, float | None] = field(default_factory=dict)
    """What its replies are like, by key of the measure; the mean over several replies."""


class Sampled(Sampling, Stored):
    """How answers were drawn, and how they spread."""

    sample_mean: float | None = None
    """Mean score of all answers; None with one answer an item."""
    variance_between: float | None = None
    """Of scores, between items."""
    variance_within: float | None = None
    """Of scores, within items."""


class Rate(Stored):
    """A share with its 95 % interval, from 0 to 1."""

    rate: float
    low: float
    high: float


class Judged(Stored):
    """What a judge's verdicts come to, and what they took."""

    judge: str
    rounds: int
    """How often each answer was judged, each time in both orders."""
    win_rate: Rate | None
    """Against what answers are compared with, by the Bradley-Terry model; None where no judgment has a label."""
    win_rate_at_equal_style: Rate | None
    """With length, headers, lists and bold text held equal."""
    swayed_by_order: float | None
    """Share of rounds in which the judge names another winner in the other order."""
    changed_when_repeated: float | None
    """Share of repeated judgments that name another winner than the one before; None with one round."""
    without_label: int
    """Judgments without one of the five labels; their rounds are left out."""
    identical: int = 0
    """Pairs of answers, the same to the letter, that are ties without being judged; only where a candidate's are compared with
    the base's."""
    requests: int
    prompt_tokens: int
    generated_tokens: int
    dollars: float | None
    """What the judging cost, where its price was given."""


class EvaluateSummary(Summary, kind="evaluate"):
    """A task's score; its items are in `items.parquet`."""

    task: str
    version: int | str = 0
    kind: str = ""
    metric: str
    n: int
    """Items that were scored."""
    available: int | None = None
    """Items that the task has without a limit."""
    most: int | None = None
    """The most items that the task can have; None where a generator never runs out of them."""
    score: float
    """Mean over items, from 0 to 1."""
    stderr: float | None = None
    """Of the mean, for independent items: standard deviation / √n."""
    chance: float = 0.0
    """What guessing scores."""
    rescaled: float | None = None
    """100 · score above chance / room above chance, at least 0, where the task says so: the Open LLM Leaderboard's number."""
    uninformative: str | None = None
    """Why the task says little where this model is the base."""
    prompt_tokens: float | None = None
    """Mean over items."""
    generated_tokens: float | None = None
    source_version: str | None = None
    """Of the task, where it is another project's."""
    lm_eval: str | None = None
    """Version of lm-evaluation-harness, where that ran the task."""
    sampled: Sampled | None = None
    """None for greedy answers."""
    sandbox: str | None = None
    """What confined generated programs."""
    judged: Judged | None = None
    """Of answers that a judge has compared with a baseline's."""
    mode: str | None = None
    """Of thinking, where the task was asked in one."""
    replies: Replies | None = None
    concurrency: int | None = None
    weights: Agreement | None = None
    """Of a server at an address."""
