"""Problems of mathematics: answers read out of replies and compared by value."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("math_verify")

from whichbits.accuracy.earlier_items import kept
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.mathematics import ASKED_FOR, judge, questions, source_file
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.problem_files import Row, rows
from whichbits.accuracy.registry import expand, task
from whichbits.accuracy.sampling import check
from whichbits.core.errors import UserError
from whichbits.schema.sampling import Sampling

DATA = Path(os.environ.get("WHICHBITS_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
"""Public data sets, which are no part of the repository."""


def data(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"no data set {name} in {DATA}: name another folder in WHICHBITS_TEST_DATA")
    return DATA


@pytest.mark.parametrize(
    ("reply", "answer", "right"),
    [
        (r"So it is \boxed{204}.", "204", True),
        (r"So it is \boxed{205}.", "204", False),
        (r"\boxed{0.5}", r"\frac{1}{2}", True),
        (r"\boxed{(3, \pi/2)}", r"\left( 3, \frac{\pi}{2} \right)", True),
        (r"\boxed{q - p}", "p - q", False),
        (r"\boxed{x^2+2x+1}", "(x+1)^2", True),
        (r"<think>Is it \boxed{1}?</think>No: \boxed{2}.", "2", True),
        (r"<think>It is \boxed{2}", "2", False),
        ("I do not know.", "2", False),
        ("", "2", False),
    ],
)
def test_answers_are_compared_by_value(reply: str, answer: str, right: bool) -> None:
    assert judge(reply, answer).right is right


def test_equal_answers_have_equal_votes() -> None:
    assert judge(r"\boxed{\frac12}", "1").vote == judge(r"It is \boxed{\frac{1}{2}}", "1").vote != ""
    assert judge("I do not know.", "1").vote == ""


class Solved(Row):
    solution: str


def test_the_solutions_of_math_500_give_their_answers() -> None:
    folder = data("math500")
    asked = questions("math-500", folder)
    solutions = [row.solution for row in rows(source_file("math-500", folder), Solved)]
    assert len(asked) == 500
    assert not any(one.problem.startswith(ASKED_FOR.strip()) for one in asked)
    tried = list(zip(asked, solutions, strict=True))[::5]
    missed = [one.name for one, solution in tried if not judge(solution, one.answer).right]
    assert len(missed) <= len(tried) // 50, missed
    others = [one.answer for one, _ in tried[1:]]
    assert sum(judge(f"\\boxed{{{other}}}", one.answer).right for (one, _), other in zip(tried, others, strict=False)) <= 3


def test_aime_has_thirty_problems_with_whole_numbers() -> None:
    asked = questions("aime24", data("aime24"))
    assert len({one.name for one in asked}) == len(asked) == 30
    assert all(0 <= int(one.answer) <= 999 for one in asked)


def test_majority_and_mean_of_several_answers(tmp_path: Path, embedded_model: Path) -> None:
    (tmp_path / "aime24").mkdir()
    problems = [{"id": 1, "problem": "1 + 1?", "answer": "2"}, {"id": 2, "problem": "1 / 2?", "answer": "1/2"}]
    (tmp_path / "aime24" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    said = [r"\boxed{2}", r"\boxed{0.5}", r"\boxed{3}", r"\boxed{\frac12}", r"\boxed{2}", "nothing"]

    class Model:
        max_length = 100_000

        def generate(self, prompts, *, temperature, top_p, **how):
            assert (temperature, top_p, how["max_tokens"]) == (0.6, 0.95, 32768)
            return [SimpleNamespace(text=text, tokens=1) for text in said]

    scores = {}
    for reducer in ("mean", "majority"):
        asked = task("aime24").sampled(Sampling(temperature=0.6, top_p=0.95, samples=3, reducer=reducer))
        result = evaluate(asked, Model(), embedded_model, data_dir=tmp_path)
        scores[reducer] = [item.score for item in result.items]
    assert [item.sample_scores for item in result.items] == [(1, 0, 1), (1, 1, 0)]
    assert scores == {"mean": [pytest.approx(2 / 3)] * 2, "majority": [1, 0.5 if _apart() else 1]}


def test_more_problems_are_asked_alone(tmp_path: Path, embedded_model: Path) -> None:
    (tmp_path / "aime24").mkdir()
    problems = [{"id": number, "problem": f"{number} + 1?", "answer": str(number + 1)} for number in range(3)]
    (tmp_path / "aime24" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    asked = task("aime24").sampled(Sampling(temperature=0.6, samples=2))

    class Model:
        max_length = 100_000

        def __init__(self, *said: str) -> None:
            self.said = said

        def generate(self, prompts, **_):
            assert len(prompts) == len(self.said)
            return [SimpleNamespace(text=f"\\boxed{{{text}}}", tokens=1) for text in self.said]

    whole = evaluate(asked, Model("1", "2", "3", "1", "0", "0"), embedded_model, data_dir=tmp_path)
    some = evaluate(asked, Model("1", "2", "1", "0"), embedded_model, data_dir=tmp_path, limit=2)
    longer = evaluate(asked, Model("3", "0"), embedded_model, data_dir=tmp_path, kept=kept(2, some.summary, some.rows()))
    assert (longer.summary, longer.rows()) == (whole.summary, whole.rows())
    assert (whole.kept, longer.kept) == (0, 2)
    assert [item.score for item in longer.items] == [1.0, 0.5, 0.5]


def _apart() -> bool:
    """Whether math-verify writes 0.5 and 1/2 differently, so that they are two votes."""
    return judge(r"\boxed{0.5}", "1").vote != judge(r"\boxed{\frac12}", "1").vote


def test_the_shipped_tasks_are_at_the_papers_sampling(tmp_path: Path) -> None:
    for one in expand(["reasoning"]):
        assert (one.temperature, one.top_p, one.samples, one.reducer) == (0.6, 0.95, 20, "mean")
        check(one.sampling)
        with pytest.raises(UserError, match="data_dir"):
            task_kind(one.kind).data_files(one, tmp_path)
