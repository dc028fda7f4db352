"""Questions about one of many documents: SQuAD and HotpotQA among documents of other questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from random import Random

from pydantic import BaseModel, ConfigDict, ValidationError

from whichbits.accuracy.problem_files import problem_file
from whichbits.accuracy.ruler.draft import Draft
from whichbits.core.errors import UserError
from whichbits.core.text import parse_json, read_bytes

REQUEST = (
    "Answer the question based on the given documents. Only give me the answer and do not output any other words.\n\n"
    "The following are given documents.\n\n{context}\n\n"
    "Answer the question based on the given documents. Only give me the answer and do not output any other words.\n\n"
    "Question: {query}"
)
BEGUN = "Answer:"
DOCUMENT = "Document {number}:\n{document}"

FILES: Mapping[str, str] = {"qa_1": "dev-v2.0.json", "qa_2": "hotpot_dev_distractor_v1.json"}
"""By the names of their authors (rajpurkar.github.io/SQuAD-explorer, hotpotqa.github.io)."""


@dataclass(frozen=True)
class Question:
    """A question with its answers; documents are indices."""

    query: str
    answers: tuple[str, ...]
    needed: tuple[int, ...]
    """Documents that hold the answer."""
    near: tuple[int, ...]
    """Documents of the same article, which come first among the others."""


@dataclass(frozen=True)
class QuestionSet:
    """A data set: its questions in its order, and its documents."""

    questions: tuple[Question, ...]
    documents: tuple[str, ...]

    @cached_property
    def words(self) -> int:
        """Words of all documents."""
        return sum(document.count(" ") + 1 for document in self.documents)


def question_file(name: str, data_dir: Path | None) -> Path:
    """The file of a set. Raises UserError where it is not there."""
    remedy = f"put {FILES[name]} into the data directory, or choose RULER's tasks without questions: ruler_synthetic_4k, ..."
    return problem_file(data_dir, [FILES[name]], task=f"RULER's {name}", remedy=remedy)


def question_set(name: str, data_dir: Path | None) -> QuestionSet:
    """The set `qa_1` (SQuAD 2.0, answerable questions) or `qa_2` (HotpotQA). Raises UserError where its file is not one."""
    file = question_file(name, data_dir)
    return _read(name, file, file.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(name: str, file: Path, _written: int) -> QuestionSet:
    value = parse_json(read_bytes(file, f"data_dir: {file}"), f"data_dir: {file}", form="the file as its authors publish it")
    try:
        return _squad(_Squad.model_validate(value)) if name == "qa_1" else _hotpot(_Hotpot.model_validate({"rows": value}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"data_dir: {file} {place}: {first['msg']}", remedy="download it again from its authors") from error


def draft(random: Random, question: Question, asked_of: QuestionSet) -> Draft:
    """One item; a unit is a word of the documents that are not needed, of which the last one may be cut."""
    documents = asked_of.documents
    rest = [index for index in range(len(documents)) if index not in {*question.needed, *question.near}]
    others = [*random.sample(question.near, len(question.near)), *random.sample(rest, len(rest))]
    places = {index: random.random() for index in [*question.needed, *others]}

    def write(units: int) -> str:
        shown = [(places[index], documents[index]) for index in question.needed]
        for index in others:
            if units <= 0:
                break
            words = documents[index].split(" ")
            shown.append((places[index], " ".join(words[:units])))
            units -= len(words)
        listed = [DOCUMENT.format(number=number, document=text) for number, (_, text) in enumerate(sorted(shown), start=1)]
        return REQUEST.format(context="\n\n".join(listed), query=question.query)

    return Draft(
        write=write,
        begun=BEGUN,
        answers=question.answers,
        least=0,
        most=asked_of.words - sum(len(documents[index].split(" ")) for index in question.needed),
        cluster="/".join(str(index) for index in question.needed),
    )


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Answer(_Part):
    text: str


class _Asked(_Part):
    question: str
    answers: tuple[_Answer, ...] = ()
    is_impossible: bool = False


class _Paragraph(_Part):
    context: str
    qas: tuple[_Asked, ...]


class _Article(_Part):
    paragraphs: tuple[_Paragraph, ...]


class _Squad(_Part):
    data: tuple[_Article, ...]


class _Hop(_Part):
    question: str
    answer: str
    context: tuple[tuple[str, tuple[str, ...]], ...]


class _Hotpot(_Part):
    rows: tuple[_Hop, ...]


def _squad(found: _Squad) -> QuestionSet:
    documents = sorted({paragraph.context for article in found.data for paragraph in article.paragraphs})
    number = {text: index for index, text in enumerate(documents)}
    questions = [
        Question(
            query=asked.question,
            answers=tuple(dict.fromkeys(answer.text for answer in asked.answers)),
            needed=(number[paragraph.context],),
            near=tuple(sorted({number[other.context] for other in article.paragraphs} - {number[paragraph.context]})),
        )
        for article in found.data
        for paragraph in article.paragraphs
        for asked in paragraph.qas
        if not asked.is_impossible and asked.answers
    ]
    return QuestionSet(tuple(questions), tuple(documents))


def _hotpot(found: _Hotpot) -> QuestionSet:
    documents = sorted({_titled(*part) for row in found.rows for part in row.context})
    number = {text: index for index, text in enumerate(documents)}
    questions = [
        Question(row.question, (row.answer,), tuple(dict.fromkeys(number[_titled(*part)] for part in row.context)), ())
        for row in found.rows
    ]
    return QuestionSet(tuple(questions), tuple(documents))


def _titled(title: str, sentences: Sequence[str]) -> str:
    return f"{title}\n{''.join(sentences)}"
