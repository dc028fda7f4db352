"""GPQA-Diamond: questions of graduates in four choices, reasoned about at length; the letter is read out of the reply.

The letter of a reply is, after what was thought before it (a thought that does not end is no answer),

1. the last one after "Answer:" (or "Answer is"), plain, in parentheses, bold, or in \\boxed{} or \\text{};
2. else the last one alone in \\boxed{} (or \\boxed{\\text{}});
3. else there is none, and the answer is wrong.

Only A to D are letters, capital, and not the beginning of a word. Where the one that counts is named with another
("Answer: A or B", "(A)/(B)"), the reply has not chosen: there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import ClassVar

from pydantic import AliasChoices, Field, model_validator

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
from whichbits.engines.protocol import LanguageModel

REQUEST = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'Answer: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering.\n\n"
    "{question}\n\nA) {a}\nB) {b}\nC) {c}\nD) {d}"
)
"""As OpenAI's simple-evals and LightEval ask."""

LETTERS = "ABCD"
FILES = ("gpqa_diamond.csv", "gpqa_diamond/train.jsonl", "gpqa_diamond.jsonl")
"""The authors' file, or the hub's rows."""

_BEFORE = r"(?:[\s*_$(\\]|\\boxed\s*\{|\\text\s*\{|\\mathrm\s*\{)*"
_OTHERS = rf"(?:[\s*_$)}}]*(?:\bor\b|\band\b|[/,&|])(?:\s*(?:\bor\b|\band\b))?{_BEFORE}([A-D])(?![A-Za-z0-9]))?"
"""What may come after a letter: another one, joined to it."""
_STATED = re.compile(rf"(?i:answer)(?:\s*\*\*)?\s*(?::|(?i:\bis\b)\s*:?){_BEFORE}([A-D])(?![A-Za-z0-9]){_OTHERS}")
_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\(?:text|mathrm|textbf)\s*\{)?\s*\(?([A-D])\)?\s*\}")


class Question(Row):
    """A question with its right answer and three wrong ones."""

    name: str = Field(default="", validation_alias=AliasChoices("Record ID", "id"))
    question: str = Field(min_length=1, validation_alias=AliasChoices("Question", "question"))
    right: str = Field(min_length=1, validation_alias=AliasChoices("Correct Answer", "correct_answer"))
    wrong_1: str = Field(min_length=1, validation_alias=AliasChoices("Incorrect Answer 1", "incorrect_answer_1"))
    wrong_2: str = Field(min_length=1, validation_alias=AliasChoices("Incorrect Answer 2", "incorrect_answer_2"))
    wrong_3: str = Field(min_length=1, validation_alias=AliasChoices("Incorrect Answer 3", "incorrect_answer_3"))

    @model_validator(mode="after")
    def _one_is_right(self) -> Question:
        if self.right.strip() in (wrong.strip() for wrong in (self.wrong_1, self.wrong_2, self.wrong_3)):
            raise ValueError("the right answer is a wrong one too")
        return self


@dataclass(frozen=True)
class Asked:
    """A question as it is asked: its choices in an order of its own."""

    name: str
    request: str
    letter: str
    """Of the right answer."""


def questions(data_dir: Path | None) -> list[Question]:
    """The questions of the data directory. Raises UserError where the file is not there or a row lacks a field."""
    return rows(source_file(data_dir), Question)


def source_file(data_dir: Path | None) -> Path:
    """The file of questions. Raises UserError where it is not there."""
    remedy = f"put {FILES[0]} of its authors (unpacked, with their password) into a folder, and name that with --data-dir"
    return problem_file(data_dir, FILES, task="GPQA-Diamond", remedy=remedy)


def ask(question: Question, number: int, *, seed: int) -> Asked:
    """The request. Choices are shuffled by the seed and the question's text: the same for every model and sample."""
    choices = [text.strip() for text in (question.right, question.wrong_1, question.wrong_2, question.wrong_3)]
    order = list(range(4))
    Random(f"gpqa/{seed}/{question.question}").shuffle(order)
    a, b, c, d = (choices[index] for index in order)
    return Asked(
        name=question.name or str(number),
        request=REQUEST.format(question=question.question.strip(), a=a, b=b, c=c, d=d),
        letter=LETTERS[order.index(0)],
    )


def letter_of(reply: str) -> str:
    """The letter that a reply gives as its answer; empty where it gives none."""
    said = after_thought(reply) or ""
    if stated := _STATED.findall(said):
        letter, other = stated[-1]
        return str(letter) if other in ("", letter) else ""
    boxed = _BOXED.findall(said)
    return str(boxed[-1]) if boxed else ""


class Gpqa(TaskKind):
    """GPQA-Diamond, 198 questions."""

    name = "gpqa"
    ordered = True
    metrics: ClassVar[tuple[str, ...]] = ("acc",)
    sources: ClassVar = ("diamond",)

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
        """Share of right letters, or what the task's reducer makes of several answers a question."""
        numbered = [ask(question, number, seed=seed) for number, question in enumerate(questions(data_dir), start=1)]
        every = in_order(numbered, task)
        return evaluate_questions(task, model, tokenizer, every, _request, _item, limit=limit, seed=seed, kept=kept)

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """The file of questions."""
        file = source_file(data_dir)
        return {file.name: file}


def _request(asked: Asked) -> str:
    return asked.request


def _item(asked: Asked, prompt: str, reply: str) -> Item:
    letter = letter_of(reply)
    return Item(
        item=asked.name,
        prompt_hash=text_hash(prompt),
        target_hash=text_hash(asked.letter),
        cluster=asked.name,
        score=float(letter == asked.letter),
        prediction=reply,
        target=asked.letter,
        chance=1 / len(LETTERS),
        vote=letter,
    )
