"""GPQA-Diamond: choices in an order of the item's own, letters read out of replies."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("transformers")

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.gpqa import Question, ask, letter_of, questions
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task
from whichbits.core.errors import UserError
from whichbits.schema.sampling import Sampling


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("So it follows.\nAnswer: B", "B"),
        ("Answer: (C)", "C"),
        ("**Answer:** D", "D"),
        ("**Answer: A**", "A"),
        ("The answer is $\\boxed{C}$.", "C"),
        ("The correct answer is: \\boxed{\\text{B}}", "B"),
        ("Therefore \\boxed{D}", "D"),
        ("Therefore \\boxed{\\text{(A)}}", "A"),
        ("Answer: A, no.\nAnswer: B", "B"),
        ("<think>Answer: A</think>Answer: C", "C"),
        ("<think>Answer: A", ""),
        ("Answer: Both are right.", ""),
        ("Answer: Carbon", ""),
        ("answer: b", ""),
        ("I choose D.", ""),
        ("Answer: E", ""),
        ("Answer: A or B", ""),
        ("Answer: (A)/(B)", ""),
        ("**Answer:** A, or B", ""),
        ("The answer is \\boxed{C} and \\boxed{D}.", ""),
        ("Answer: A or B\nAnswer: B", "B"),
        ("Answer: B\nAnswer: A & C", ""),
        ("Answer: A or B. \\boxed{A}", ""),
        ("Answer: (A) or A", "A"),
        ("Answer: A, because B is wrong", "A"),
        ("Answer: A\nB is wrong", "A"),
        ("\\boxed{42}", ""),
        ("", ""),
    ],
)
def test_letters_of_replies(reply: str, letter: str) -> None:
    assert letter_of(reply) == letter


def made(number: int) -> dict[str, str]:
    return {
        "Record ID": f"rec{number}",
        "Question": f"What is {number}, if\nanything?",
        "Correct Answer": f"right {number}\n",
        **{f"Incorrect Answer {wrong}": f"wrong {wrong} of {number}" for wrong in (1, 2, 3)},
        "Explanation": "left out",
    }


def write(folder: Path, count: int) -> Path:
    file = folder / "gpqa_diamond.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, list(made(0)))
        table.writeheader()
        table.writerows(made(number) for number in range(count))
    return file


def test_choices_are_shuffled_by_the_seed_of_the_item(tmp_path: Path) -> None:
    write(tmp_path, 40)
    found = questions(tmp_path)
    assert [one.name for one in found] == [f"rec{number}" for number in range(40)]
    asked = [ask(one, 1, seed=0) for one in found]
    assert asked == [ask(one, 7, seed=0) for one in found]
    assert {one.letter for one in asked} == set("ABCD")
    assert [one.letter for one in asked] != [ask(one, 1, seed=1).letter for one in found]
    for number, one in enumerate(asked):
        shown = dict(re.findall(r"^([A-D])\) (.*)$", one.request, re.MULTILINE))
        assert shown[one.letter] == f"right {number}"
        assert sorted(shown.values()) == sorted([f"right {number}", *(f"wrong {wrong} of {number}" for wrong in (1, 2, 3))])


def test_answers_are_scored_and_voted_on(tmp_path: Path, embedded_model: Path) -> None:
    write(tmp_path, 3)
    right = [ask(one, 1, seed=0).letter for one in questions(tmp_path)]
    wrong = ["ABCD"[("ABCD".index(letter) + 1) % 4] for letter in right]
    # Three answers: the first item right twice, the second once, the third never.
    said = [right[0], right[1], wrong[2], right[0], wrong[1], wrong[2], wrong[0], wrong[1], ""]

    class Model:
        max_length = 100_000

        def generate(self, prompts, *, temperature, top_p, max_tokens, **_):
            assert (temperature, top_p, max_tokens) == (0.6, 0.95, 32768)
            return [SimpleNamespace(text=f"<think>No.</think>\nAnswer: {letter}", tokens=1) for letter in said]

    one = task("gpqa_diamond")
    assert (one.temperature, one.top_p, one.samples, one.chat_template, one.chance) == (0.6, 0.95, 20, True, 0.25)
    scores = {}
    for reducer in ("mean", "majority"):
        asked = one.sampled(Sampling(temperature=0.6, top_p=0.95, samples=3, reducer=reducer))
        result = evaluate(asked, Model(), embedded_model, data_dir=tmp_path)
        scores[reducer] = [item.score for item in result.items]
    assert scores == {"mean": pytest.approx([2 / 3, 1 / 3, 0]), "majority": [1, 0, 0]}
    assert [item.item for item in result.items] == ["rec0", "rec1", "rec2"]
    assert result.summary.chance == 0.25


def test_files(tmp_path: Path) -> None:
    one = task("gpqa_diamond")
    for data_dir in (None, tmp_path):
        with pytest.raises(UserError, match=r"gpqa_diamond\.csv|local directory"):
            task_kind(one.kind).data_files(one, data_dir)
    file = write(tmp_path, 2)
    assert task_kind(one.kind).data_files(one, tmp_path) == {"gpqa_diamond.csv": file}
    file.unlink()
    folder = tmp_path / "gpqa" / "gpqa_diamond"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(json.dumps(made(5)) + "\n")
    assert questions(tmp_path)[0].right == "right 5\n"
    (folder / "train.jsonl").write_text(json.dumps({**made(5), "Correct Answer": ""}) + "\n")
    with pytest.raises(UserError, match="row 1: Correct Answer"):
        questions(tmp_path)
    (folder / "train.jsonl").write_text(json.dumps({**made(5), "Incorrect Answer 2": " right 5"}) + "\n")
    with pytest.raises(UserError, match=r"row 1: .*the right answer is a wrong one too"):
        questions(tmp_path)
    assert isinstance(Question.model_validate(made(1)), Question)


@pytest.mark.parametrize("cell", ['"without an end', "x" * 200_000])
def test_a_table_that_cannot_be_read(tmp_path: Path, cell: str) -> None:
    file = write(tmp_path, 2)
    file.write_text(f"{file.read_text()}rec9,{cell},a,b,c,d\n")
    with pytest.raises(UserError, match="is not CSV"):
        questions(tmp_path)
