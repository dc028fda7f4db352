"""Arena-Hard's questions and the baselines' answers, in the form of lmarena/arena-hard-auto."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from whichbits.accuracy.problem_files import Row, optional_files, problem_file, rows
from whichbits.accuracy.thinking.thought import after_thought
from whichbits.core.errors import UserError

VERSIONS: Mapping[str, Mapping[str, str]] = {
    "v0.1": {"arena-hard-v0.1": "gpt-4-0314"},
    "v2.0": {"hard_prompt": "o3-mini-2025-01-31", "creative_writing": "gemini-2.0-flash-001"},
}
"""For each version the baseline of each category."""


class Question(Row):
    """A prompt."""

    uid: str = Field(min_length=1)
    category: str
    prompt: str = Field(min_length=1)


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    answer: str


class _Turn(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    role: str
    content: _Content | str


class _Answered(Row):
    uid: str = Field(min_length=1)
    messages: tuple[_Turn, ...] = Field(min_length=1)

    @field_validator("messages")
    @classmethod
    def _ends_with_an_answer(cls, messages: tuple[_Turn, ...]) -> tuple[_Turn, ...]:
        if messages and messages[-1].role != "assistant":
            raise ValueError(f"the last one is of role {messages[-1].role!r:.40}, not of the assistant")
        return messages

    @property
    def answer(self) -> str:
        last = self.messages[-1].content
        return last if isinstance(last, str) else last.answer


@dataclass(frozen=True)
class Prompt:
    """A question with the baseline's answer to it."""

    uid: str
    category: str
    text: str
    baseline: str


def question_file(version: str, data_dir: Path | None) -> Path:
    """The file of a version's questions. Raises UserError where it is not there."""
    patterns = [f"arena-hard-{version}/question.jsonl", f"{version}_question.jsonl"]
    remedy = "copy data/ of github.com/lmarena/arena-hard-auto into a folder, and name that with --data-dir"
    return problem_file(data_dir, patterns, task=f"Arena-Hard {version}", remedy=remedy)


def answer_files(version: str, data_dir: Path | None) -> list[Path]:
    """The files of the baselines' answers. Raises UserError where one is not there."""
    found = []
    for model in VERSIONS[version].values():
        patterns = [f"arena-hard-{version}/model_answer/{model}.jsonl", f"{version}_baseline_{model}.jsonl"]
        files = optional_files(data_dir, patterns) if data_dir else []
        if len(files) != 1:
            raise UserError(
                f"data_dir: {data_dir} has {len(files)} files of {model}'s answers to Arena-Hard {version}",
                remedy=f"put one into it, as {patterns[0]}",
            )
        found.append(files[0])
    return found


def prompts(version: str, data_dir: Path | None, baseline: Path | None = None) -> list[Prompt]:
    """All questions with their baselines' answers, or those of the file `baseline`, to all categories.

    Raises UserError where a file is missing, or has no answer to one.
    """
    files = answer_files(version, data_dir) if baseline is None else [baseline] * len(VERSIONS[version])
    answers = {category: _answers(file) for category, file in zip(VERSIONS[version], files, strict=True)}
    return [_prompt(version, question, answers) for question in questions(version, data_dir)]


def questions(version: str, data_dir: Path | None) -> list[Question]:
    """All questions of a version. Raises UserError where the file is missing, or has one twice."""
    file = question_file(version, data_dir)
    found = rows(file, Question)
    _refuse_twice((question.uid for question in found), file)
    return found


def _answers(file: Path) -> dict[str, str]:
    """Answers by question, of arena-hard's form, or the predictions of an evaluation's items.parquet.

    Raises UserError where the file is neither.
    """
    if file.suffix != ".parquet":
        answered = rows(file, _Answered)
        _refuse_twice((row.uid for row in answered), file)
        return {row.uid: row.answer for row in answered}
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(file, columns=["item", "prediction"]).to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(
            f"judge: {file} has no answers: {' '.join(str(error).split())[:200]}",
            remedy="name items.parquet of an evaluation of the same task",
        ) from error
    return {str(item): after_thought(text) or "" for item, text in zip(table["item"], table["prediction"], strict=True)}


def _refuse_twice(uids: Iterable[str], file: Path) -> None:
    """Raise UserError where a file has a question, or an answer to one, twice."""
    uid, times = Counter(uids).most_common(1)[0]
    if times > 1:
        raise UserError(f"data_dir: {file} has {uid} {times} times", remedy="keep one of them")


def _prompt(version: str, question: Question, answers: Mapping[str, Mapping[str, str]]) -> Prompt:
    answer = answers.get(question.category, {}).get(question.uid)
    if answer is None:
        raise UserError(
            f"data_dir: no baseline answers question {question.uid} of Arena-Hard {version} ({question.category})",
            remedy="give questions and answers of one version, all of them",
        )
    return Prompt(question.uid, question.category, question.prompt, answer)


def characters(version: str, data_dir: Path | None, baseline: Path | None = None) -> Sequence[int]:
    """Characters of each question with its baseline's answer: what a judge reads besides the model's answer."""
    return [len(one.text) + len(one.baseline) for one in prompts(version, data_dir, baseline)]
