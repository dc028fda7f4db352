"""What a kind of task is: how its tasks are defined, which files they read, and how they are scored."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from whichbits.accuracy.comparison import AnsweredTwice, Comparison
from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.harness import HarnessTask
from whichbits.accuracy.judging import Judge, JudgingWork
from whichbits.accuracy.result import TaskResult
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import LanguageModel


class TaskKind(ABC):
    """One kind of task. A kind has no state: everything that decides a score is in the `Task`, its files and the seed."""

    name: ClassVar[str]
    """What `Task.kind` says."""
    version: ClassVar[int] = 1
    """Of the tasks that users define; raised by hand with every change of the kind that can change a score."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """The metrics of its tasks, the default first; none where they depend on the task."""
    sources: ClassVar[Collection[str]] = ()
    """What `Task.source` may say; anything where there are none."""
    options: ClassVar[tuple[str, ...]] = ("metric", "max_tokens", "stop", "chat_template")
    """Fields of a request that its tasks take."""
    ordered: ClassVar[bool] = False
    """Whether it takes items in a task's `order`, and asks only for those that are not kept, or are its shard's."""
    drawn: ClassVar[bool] = False
    """Whether its items are drawn at random, so that its first ones are a sample of all without an `order`."""
    reads_source: ClassVar[bool] = False
    """Whether `Task.source` is the path of a file on this machine; a step is then identified by the file's contents."""

    @abstractmethod
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
        """Score of `model` on the task, item by item; `limit` keeps the first items.

        Items that are `kept` of an earlier run need not be asked again; a kind that cannot begin in the middle asks for all.
        One that is `ordered` asks `kept.rows`, and returns what `kept.put` gives.
        Raises UserError where the task cannot be run as stated, and KeptDiffer where kept items are not the task's.
        """

    def define(self, request: TaskRequest) -> Task:
        """The task that a user asks for. Raises UserError for a field that the kind does not take, and what `check` raises."""
        self.refuse_options(request)
        task = Task(
            name=request.name,
            version=self.version,
            kind=self.name,
            source=request.source,
            description=f"The user's own: {Path(request.source).name}",
            metric=request.metric or next(iter(self.metrics), ""),
            filter=request.filter,
            max_tokens=request.max_tokens,
            stop=request.stop or (),
            num_fewshot=request.num_fewshot,
            chat_template=bool(request.chat_template),
        )
        self.check(task)
        return task

    def refuse_options(self, request: TaskRequest) -> None:
        """Raise UserError for a field of the request that the kind does not take."""
        stated = {name: value for name, value in vars(request).items() if name not in ("name", "source") and value is not None}
        for name, value in stated.items():
            if name not in self.options:
                raise UserError(
                    f"{name}: {value!r} is stated for task {request.name}, but a task of kind {self.name} takes none",
                    remedy=f"leave it out; it takes {', '.join(self.options)}",
                )

    def check(self, task: Task) -> None:
        """Raise UserError where a task's fields do not fit its kind."""
        if task.items is not None:
            raise UserError(
                f"items: task {task.name} is of kind {self.name}, whose items are not made", remedy="leave items out"
            )
        if self.sources and task.source not in self.sources:
            raise UserError(
                f"source: {task.source!r} is none of kind {self.name} (task {task.name})",
                remedy=f"choose from {', '.join(self.sources)}",
            )
        self.check_metric(task)

    def check_metric(self, task: Task) -> None:
        """Raise UserError where the kind states its metrics and the task's is none of them."""
        if self.metrics and task.metric not in self.metrics:
            raise UserError(
                f"metric: {task.metric!r} is no metric of kind {self.name!r} (task {task.name})",
                remedy=f"choose from {', '.join(self.metrics)}",
            )

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """Files on this machine that decide the items, by names that are the same everywhere; None where it reads none."""
        return {"": Path(task.source)} if self.reads_source else None

    def with_items(self, task: Task, count: int, *, seed: int) -> Task:
        """The task with `count` items, where its items can be made and `count` is more than it has; else as it is."""
        return task

    def most(self, task: Task, available: int) -> int | None:
        """How many different items there can be; `available` is how many there were. None: more than anyone asks for."""
        return available

    def may_think(self, task: Task) -> bool:
        """Whether a thinking mode can change its replies: asked in the chat template, and written whole by the model."""
        return task.chat_template

    def reads_logprobs(self, task: Task) -> bool:
        """Whether it compares log-probabilities of given answers, which not every server returns."""
        return False

    def request_length(self, task: Task) -> int | None:
        """Tokens of its longest request, prompt and answer together, where the task states them; else None."""
        return None

    def prompt_lengths(self, task: Task, *, limit: int | None, seed: int) -> Sequence[int] | None:
        """Characters of each request's prompt, where they are known before anything is loaded; else None."""
        return None


class JudgedKind(TaskKind):
    """A kind whose answers a judge compares; `Task.judging` says which, and how often."""

    @abstractmethod
    def judged_by(self, judge: Judge) -> JudgedKind:
        """The kind with its judge, ready to evaluate and to compare."""

    @abstractmethod
    def judging_work(self, task: Task, *, limit: int | None, data_dir: Path | None) -> JudgingWork:
        """What judging one model's answers takes, before they are there. Raises UserError where the task names no judge."""

    @abstractmethod
    def compare(
        self, task: Task, answers: Sequence[AnsweredTwice], tokenizer: PromptTokenizer, *, seed: int, data_dir: Path | None
    ) -> Comparison:
        """One model's answers against another's, which both evaluations of the task hold: nothing is generated.

        Raises UserError where the questions are not those that were answered.
        """

    @abstractmethod
    def comparison_work(self, task: Task, *, limit: int | None, data_dir: Path | None) -> JudgingWork:
        """What comparing two models takes, before the answers are there. Raises UserError where the task names no judge."""


class HarnessKind(TaskKind):
    """A kind whose tasks lm-evaluation-harness runs."""

    ordered = True

    def may_think(self, task: Task) -> bool:
        """Not where the likelihoods of choices are compared."""
        return super().may_think(task) and not self.reads_logprobs(task)

    def reads_logprobs(self, task: Task) -> bool:
        """By its metric, which is of choices or of texts."""
        return bool(set(task.metric.split("+")) & {"acc", "acc_norm", "acc_bytes", "acc_mutual_info"})

    @abstractmethod
    def harness_tasks(self, task: Task, *, seed: int, data_dir: Path | None) -> dict[str, HarnessTask]:
        """lm-evaluation-harness's task objects, by name: one, or the members of a group."""

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
        """Score of `model` on the task's harness objects.

        Kept items are not asked again, but all prompts are made, since few-shot examples are drawn one after another.
        """
        from whichbits.accuracy.run_lm_eval import run_lm_eval

        # Some of lm-evaluation-harness's tasks shuffle with the global generator while they load; a step has its own process.
        random.seed(seed)
        made = self.harness_tasks(task, seed=seed, data_dir=data_dir)
        return run_lm_eval(task, made, model, tokenizer, kept=kept, limit=limit, seed=seed, most=self.most)
