"""EvalPlus's results in the two forms that its source writes; no file here was made by EvalPlus itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.imported.accuracy import refuse_differences
from whichbits.studies.store.importers.importer import ImportedRun
from whichbits.studies.store.importers.registry import read

STATUSES = {"HumanEval/0": [("pass", "pass"), ("pass", "fail")], "HumanEval/1": [("fail", "pass"), ("timeout", "fail")]}


def write(folder: Path, problems: Any, *, name: str = "org--m_vllm_temp_0.2.eval_results.json", hash: str = "fe58") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(json.dumps({"date": "2026-01-01 10:00", "hash": hash, "eval": problems, "pass_at_k": {}}), encoding="utf-8")
    return file


def newer(statuses: dict[str, list[tuple[str, str | None]]]) -> dict[str, Any]:
    return {
        name: [
            {"task_id": name, "solution": "pass", "base_status": base, "plus_status": plus, "base_fail_tests": [],
             "plus_fail_tests": []}
            for base, plus in programs
        ]
        for name, programs in statuses.items()
    }  # fmt: skip


def scores(run: ImportedRun) -> dict[str, list[float]]:
    return {task.name: [item.score for item in task.items] for task in run.tasks}


def test_base_tests_and_additional_ones_are_two_tasks(tmp_path: Path) -> None:
    run = read(write(tmp_path, newer(STATUSES)))
    # A program passes HumanEval+ where it passes the base tests too.
    assert scores(run) == {"humaneval": [1.0, 0.0], "humaneval_plus": [0.5, 0.0]}
    assert (run.tool, run.model, run.tasks[0].metric) == ("evalplus", "org--m_vllm_temp_0.2", "pass@1")
    assert "prompts" in run.unknown


def test_the_older_form_says_the_same(tmp_path: Path) -> None:
    older = {
        name: {
            "nfiles": len(programs),
            "base": [["success" if base == "pass" else "failed", [True]] for base, _ in programs],
            "plus": [["success" if plus == "pass" else "failed", [True]] for _, plus in programs],
        }
        for name, programs in STATUSES.items()
    }
    assert scores(read(write(tmp_path / "a", older))) == scores(read(write(tmp_path / "b", newer(STATUSES))))


def test_without_additional_tests_there_is_one_task(tmp_path: Path) -> None:
    only = {name: [(base, None) for base, _ in programs] for name, programs in STATUSES.items()}
    assert list(scores(read(write(tmp_path, newer(only))))) == ["humaneval"]  # type: ignore[arg-type]
    mbpp = read(write(tmp_path / "mbpp", newer({"Mbpp/2": [("pass", "pass")]})))
    assert list(scores(mbpp)) == ["mbpp", "mbpp_plus"]


@pytest.mark.parametrize(
    ("options", "statuses", "said"),
    [
        ({"hash": "b0c1"}, STATUSES, "from: hash differs: fe58 in"),
        ({"name": "org--m_vllm_temp_0.0.eval_results.json"}, STATUSES, "from: temperature differs: 0.2 in"),
        ({}, {name: programs[:1] for name, programs in STATUSES.items()}, "from: samples differs: [2] in"),
        ({}, {**STATUSES, "HumanEval/2": STATUSES["HumanEval/0"]}, "from: humaneval: 1 items are in one run alone"),
    ],
)
def test_what_differs_is_refused(tmp_path: Path, options: dict[str, str], statuses: Any, said: str) -> None:
    base = read(write(tmp_path / "base", newer(STATUSES)))
    with pytest.raises(UserError) as raised:
        refuse_differences(base, read(write(tmp_path / "candidate", newer(statuses), **options)))
    assert str(raised.value).startswith(said)


def test_as_many_programs_of_every_problem_are_compared(tmp_path: Path) -> None:
    # Both have problems with one program and with two, but not the same ones.
    base, candidate = (
        {name: STATUSES[name][: 1 if name == one else 2] for name in STATUSES} for one in ("HumanEval/0", "HumanEval/1")
    )
    runs = [read(write(tmp_path / name, newer(some))) for name, some in (("a", base), ("b", base), ("c", candidate))]
    refuse_differences(*runs[:2])
    with pytest.raises(UserError, match="from: samples differs: "):
        refuse_differences(runs[0], runs[2])


def test_the_tools_own_score_is_that_of_the_programs(tmp_path: Path) -> None:
    file = write(tmp_path, newer(STATUSES))
    whole = json.loads(file.read_text())
    for base, plus in ((0.5, 0.25), (0.5, 0.5), (0.4, 0.25)):
        file.write_text(json.dumps({**whole, "pass_at_k": {"base": {"pass@1": base}, "plus": {"pass@1": plus}}}))
        if (base, plus) == (0.5, 0.25):
            assert scores(read(file))["humaneval_plus"] == [0.5, 0.0]
        else:
            with pytest.raises(UserError, match="tells of a score of"):
                read(file)


@pytest.mark.parametrize("status", ["PASS", "passed", "", None, True, ["pass"]])
@pytest.mark.parametrize("form", ["newer", "older"])
def test_a_status_that_evalplus_does_not_give_is_refused(tmp_path: Path, status: Any, form: str) -> None:
    problems: Any = newer({**STATUSES, "HumanEval/2": [(status, "pass")]})
    if form == "older":
        problems = {"HumanEval/0": {"base": [["success", []], [status, []]], "plus": [["success", []], ["timed out", []]]}}
    with pytest.raises(UserError, match=r"has the status .*, and not pass, fail, timeout"):
        read(write(tmp_path, problems))


@pytest.mark.parametrize(
    "some",
    [
        newer({**STATUSES, "HumanEval/2": [("pass", None), ("pass", "pass")]}),  # type: ignore[dict-item]
        {**newer(STATUSES), "HumanEval/2": {"base": [["success", []]] * 2, "plus": []}},
        {"HumanEval/0": {"base": [["success", []]] * 2, "plus": [["success", []]]}},
    ],
)
def test_additional_tests_of_a_part_are_refused(tmp_path: Path, some: Any) -> None:
    with pytest.raises(UserError, match=r"has no plus_status of 1 of 6|has no plus_status of 2 of 6|2 results of the base"):
        read(write(tmp_path, some))


@pytest.mark.parametrize(
    "problems", [{}, {"HumanEval/0": []}, {"HumanEval/0": [{"task_id": "HumanEval/0"}]}, {"a": {"base": [1]}}]
)
def test_what_is_damaged_is_refused(tmp_path: Path, problems: Any) -> None:
    with pytest.raises(UserError, match=r"from: .*eval_results\.json"):
        read(write(tmp_path, problems))
