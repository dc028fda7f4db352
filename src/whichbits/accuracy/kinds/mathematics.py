"""Problems of mathematics with one answer: AIME 2024 and MATH-500, answers compared by the library math-verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import AliasChoices, Field

from whichbits.accuracy.earlier_items import Kept
from whichbits.accuracy.item import Item
from whichbits.accuracy.kind import TaskKind
from whichbits.accuracy.order import in_order
from whichbits.accuracy.problem_files import Row, problem_file, rows
from whichbits.accuracy.questions import evaluate_questions
from whichbits.accuracy.result import TaskResult, text_hash
from whichbits.accuracy.task import Task
from whichbits.accuracy.thinking.thought import after_thought
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.engines.protocol import LanguageModel

REQUEST = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
"""As DeepSeek-R1's model card asks for mathematics."""

ASKED_FOR = "Return your final response within \\boxed{}. "
"""What some copies of MATH-500 put before each problem, and the original has not."""

FOLDERS: Mapping[str, Sequence[str]] = {
    "aime24": ("aime24", "aime_2024", "AIME_2024"),
    "math-500": ("math500", "MATH-500", "math-500"),
}
"""Names of the folder, in the data directory or in a folder in it, that has `test.jsonl`."""


class Question(Row):
    """A problem with its answer."""

    name: str = Field(default="", validation_alias=AliasChoices("unique_id", "id"))
    problem: str = Field(min_length=1)
    answer: str = Field(min_length=1)


@dataclass(frozen=True)
class Judged:
    """What a reply says, and whether it is right."""

    right: bool
    vote: str
    """The answer in SymPy's words, in which equal answers are equal texts; empty where there is none."""


def questions(source: str, data_dir: Path | None) -> list[Question]:
    """The problems of a source. Raises UserError where the file is not there or a row lacks a field."""
    return [
        row.model_copy(update={"name": row.name or str(number), "problem": row.problem.removeprefix(ASKED_FOR)})
        for number, row in enumerate(rows(source_file(source, data_dir), Question), start=1)
    ]


def source_file(source: str, data_dir: Path | None) -> Path:
    """The file of a source's problems."""
    patterns = [f"{folder}/test.jsonl" for folder in FOLDERS[source]]
    remedy = f"put its problems (problem, answer) into {patterns[0]} of a folder, and name that with --data-dir"
    return problem_file(data_dir, patterns, task=source, remedy=remedy)


def judge(reply: str, answer: str) -> Judged:
    """Compare a reply with the right answer, in LaTeX: by value, as math-verify reads both.

    What is thought before the answer does not count; a thought that does not end is no answer. Raises UserError where
    math-verify is not installed.
    """
    try:
        from math_verify import parse, verify
    except ModuleNotFoundError as error:
        raise UserError(
            "task: problems of mathematics need the package math-verify", remedy="pip install 'whichbits[measure]'"
        ) from error
    said: list[Any] = parse(after_thought(reply) or "")
    if not said:
        return Judged(right=False, vote="")
    return Judged(right=verify(parse(f"\\boxed{{{answer}}}"), said), vote=str(said[0]))


class Mathematics(TaskKind):
    """AIME 2024 and MATH-500."""

    name = "mathematics"
    ordered = True
    metrics: ClassVar[tuple[str, ...]] = ("math_verify",)
    sources: ClassVar = FOLDERS

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
        """Share of right answers, or what the task's reducer makes of several answers; problems that are kept are not asked."""
        judge("\\boxed{1}", "1")  # an error now where math-verify is not installed
        every = in_order(questions(task.source, data_dir), task)
        return evaluate_questions(task, model, tokenizer, every, _request, _item, limit=limit, seed=seed, kept=kept)

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """The file of problems."""
        file = source_file(task.source, data_dir)
        return {file.name: file}


def _request(question: Question) -> str:
    return REQUEST.format(problem=question.problem)


def _item(question: Question, prompt: str, reply: str) -> Item:
    found = judge(reply, question.answer)
    return Item(
        item=question.name,
        prompt_hash=text_hash(prompt),
        target_hash=text_hash(question.answer),
        cluster=question.name,
        score=float(found.right),
        prediction=reply,
        target=question.answer,
        vote=found.vote,
    )
