"""The decision on a candidate from what another tool wrote: paired statistics on the same items, or none at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import whichbits
from whichbits.cli.app import app
from whichbits.core.errors import UserError
from whichbits.studies.store.manifest import read as read_manifest
from whichbits.verdict.paired import Paired
from whichbits.verdict.recovery import recovery

ITEMS = 800


def log(folder: Path, name: str, rights: list[bool], *, model: str = "vllm/org/model", choices: int = 4) -> Path:
    """An Inspect log of a task in which some items are right."""
    folder.mkdir(exist_ok=True)
    samples = [
        {
            "id": number, "epoch": 1, "input": f"Question {number}", "choices": list("abcdefgh")[:choices], "target": "A",
            "scores": {"choice": {"value": "C" if right else "I", "answer": "A"}},
        }
        for number, right in enumerate(rights)
    ]  # fmt: skip
    spec = {"task": name, "task_version": 0, "model": model, "config": {}, "packages": {"inspect_ai": "0.3.150"}}
    file = folder / f"{name}.json"
    file.write_text(
        json.dumps({"version": 2, "status": "success", "eval": spec, "plan": {}, "samples": samples}), encoding="utf-8"
    )
    return file


def rights(share: float, seed: int) -> list[bool]:
    return [bool(one) for one in np.random.default_rng(seed).random(ITEMS) < share]


def flipped(before: list[bool], every: int) -> list[bool]:
    """One in so many right answers lost."""
    return [right and number % every != 0 for number, right in enumerate(before)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name, seed in (("arc", 1), ("hellaswag", 2)):
        log(tmp_path / "base", name, rights(0.7, seed))
    return tmp_path / "base"


def candidate(tmp_path: Path, every: int) -> Path:
    for name, seed in (("arc", 1), ("hellaswag", 2)):
        log(tmp_path / "candidate", name, flipped(rights(0.7, seed), every), model="vllm/org/model-w4a16")
    return tmp_path / "candidate"


@pytest.mark.parametrize(("every", "state"), [(10_000, "non-inferior"), (4, "inferior"), (100, "inconclusive")])
def test_the_decision_is_that_of_the_paired_statistics(tmp_path: Path, base: Path, every: int, state: str) -> None:
    outcome = whichbits.evaluate_from(base, candidate(tmp_path, every), margin=0.02, store=tmp_path / "store")
    decision = next(each for each in outcome.verdict.formats if each.candidate == "model-w4a16")
    assert decision.state == state
    assert decision.suite is not None
    pairs = [
        Paired(np.array(rights(0.7, seed), float), np.array(flipped(rights(0.7, seed), every), float), chance=0.25)
        for seed in (1, 2)
    ]
    expected = recovery(pairs).estimate
    assert decision.suite.recovery.value == pytest.approx(expected.value)
    assert decision.suite.recovery.low == pytest.approx(expected.low)
    assert decision.suite.recovery.high == pytest.approx(expected.high)
    assert {task.chance for task in outcome.verdict.tasks} == {0.25}
    assert {task.provenance for task in outcome.verdict.tasks} == {"measured"}


def test_what_was_imported_is_a_study_that_is_judged_again(tmp_path: Path, base: Path) -> None:
    outcome = whichbits.evaluate_from(base, candidate(tmp_path, 50), store=tmp_path / "store")
    page = outcome.report.read_text(encoding="utf-8")
    assert "scores imported from inspect" in page
    assert [step.labels.task for step in read_manifest(outcome.store).steps] == ["arc", "hellaswag"] * 2
    assert whichbits.recommend(outcome.store) == outcome.verdict
    wider = whichbits.recommend(outcome.store, margin=0.2)
    assert next(each.state for each in wider.formats if each.candidate == "model-w4a16") == "non-inferior"


def test_the_same_results_are_imported_once(tmp_path: Path, base: Path) -> None:
    for _ in range(2):
        whichbits.evaluate_from(base, candidate(tmp_path, 50), store=tmp_path / "store")
    assert len(list((tmp_path / "store" / "steps" / "evaluate").iterdir())) == 4


def test_the_base_against_itself_is_said_to_be_identical(tmp_path: Path, base: Path) -> None:
    verdict = whichbits.evaluate_from(base, base, store=tmp_path / "store").verdict
    assert [(each.candidate, each.state) for each in verdict.formats] == [("base", "base"), ("candidate", "non-inferior")]
    assert "identical_scores" in {caveat.code for caveat in verdict.caveats}


def test_tasks_are_chosen_by_name(tmp_path: Path, base: Path) -> None:
    given = candidate(tmp_path, 50)
    log(given, "extra", rights(0.5, 3), model="vllm/org/model-w4a16")
    with pytest.raises(UserError, match=r"task extra is in .*candidate alone"):
        whichbits.evaluate_from(base, given, store=tmp_path / "store")
    verdict = whichbits.evaluate_from(base, given, task=["arc"], store=tmp_path / "store").verdict
    assert [task.task for task in verdict.tasks] == ["arc"]


@pytest.mark.parametrize("configs", [{}, []])
def test_a_run_of_no_tasks_imports_nothing(tmp_path: Path, configs: object) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results_1.json").write_text(json.dumps({"config": {"model": "hf"}, "configs": configs}))
    with pytest.raises(UserError, match=r"results_1\.json has no tasks"):
        whichbits.evaluate_from(tmp_path / "a", tmp_path / "b", store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_results_of_two_tools_are_not_compared(tmp_path: Path, base: Path) -> None:
    other = tmp_path / "m_eval_results.json"
    other.write_text(json.dumps({"eval": {"HumanEval/0": [{"base_status": "pass", "plus_status": "pass"}]}}), encoding="utf-8")
    with pytest.raises(UserError, match=r"tool differs: inspect in .*, evalplus in"):
        whichbits.evaluate_from(base, other, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_what_is_not_known_is_a_caveat(tmp_path: Path) -> None:
    for name, passed in (("a", "pass"), ("b", "fail")):
        problems = {f"HumanEval/{i}": [{"base_status": passed if i < 5 else "pass", "plus_status": None}] for i in range(164)}
        (tmp_path / f"{name}_temp_0.0_eval_results.json").write_text(
            json.dumps({"hash": "x", "eval": problems}), encoding="utf-8"
        )
    files = [tmp_path / f"{name}_temp_0.0_eval_results.json" for name in "ab"]
    verdict = whichbits.evaluate_from(files[0], files[1], store=tmp_path / "store").verdict
    remarks = [caveat.text for caveat in verdict.caveats if caveat.code == "remark"]
    assert any("not compared: prompts" in remark for remark in remarks)


def test_the_command_line(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "--from", str(base), "--from", str(candidate(tmp_path, 4))]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "model-w4a16 is inferior" in " ".join(done.stdout.split())
    assert Path("studies/imported/report.html").is_file()
    as_json = CliRunner().invoke(app, [*words, "--json", "--margin", "0.5"])
    verdict = json.loads(as_json.stdout)
    assert (verdict["margin"], verdict["formats"][1]["state"]) == (0.5, "non-inferior")


def test_a_refused_pair_ends_with_2_and_names_field_and_values(tmp_path: Path, base: Path) -> None:
    other = tmp_path / "other"
    for name in ("arc", "hellaswag"):
        log(other, name, rights(0.7, 1), choices=5)
    done = CliRunner().invoke(app, ["evaluate", "--from", str(base), "--from", str(other), "--store", str(tmp_path / "store")])
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "arc: prompt of item 0 differs" in said
    assert '"d"]' in said
    assert '"e"]' in said
    assert "ask both the same" in said
