"""Remedies of results of other tools."""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from whichbits.cli.app import app
from whichbits.studies.imported.accuracy import judge_imported
from whichbits.studies.store.importers.evalplus import EvalPlusImporter
from whichbits.studies.store.importers.registry import IMPORTERS, read
from whichbits.studies.store.store import Store

LM_EVAL = Path(__file__).parents[1] / "studies" / "store" / "importers" / "lm_eval-0.4.13.zip"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Runs of lm-evaluation-harness, as its command line wrote them."""
    with zipfile.ZipFile(LM_EVAL) as archive:
        archive.extractall(tmp_path / "logs")
    return tmp_path / "logs"


def inspect_log(file: Path, task: str = "t", *, samples: Any = None, **fields: Any) -> Path:
    """A log of Inspect."""
    file.parent.mkdir(parents=True, exist_ok=True)
    own = [{"id": 1, "epoch": 1, "input": "?", "target": "A", "scores": {"match": {"value": "C"}}}]
    spec = {"task": task, "model": "vllm/m", "config": {}, "packages": {}}
    log = {"version": 2, "status": "success", "eval": spec, "plan": {}, "samples": own if samples is None else samples}
    file.write_text(json.dumps({**log, **fields}), encoding="utf-8")
    return file


def judged(base: Path, candidate: Path, store: Path, **options: Any) -> Callable[[], Any]:
    return lambda: judge_imported(base, candidate, Store(store), **options)


def test_what_is_not_there_or_not_known(follow: Any, tmp_path: Path):
    log = inspect_log(tmp_path / "log.json")
    follow("{path} is not there", mistake=lambda: read(tmp_path / "none"), remedy=lambda: read(log))
    (tmp_path / "a.txt").touch()
    follow("holds no {what} that are known here", mistake=lambda: read(tmp_path / "a.txt"), remedy=lambda: read(log))


def test_several_runs_in_a_folder(follow: Any, logs: Path):
    follow("from: {path} holds {several}", mistake=lambda: read(logs), remedy=lambda: read(next(logs.rglob("results_*.json"))))


def test_samples_that_were_not_written(follow: Any, logs: Path):
    file = next((logs / "base").rglob("samples_sums_*"))
    content = file.read_bytes()
    file.unlink()
    follow(
        "there is no {name} next to", mistake=lambda: read(logs / "base"), remedy=lambda: again(file, content, logs / "base")
    )


def again(file: Path, content: bytes, run: Path) -> None:
    file.write_bytes(content)
    read(run)


def test_results_that_are_damaged(follow: Any, logs: Path):
    (file,) = (logs / "base").rglob("results_*.json")
    whole = file.read_bytes()
    file.write_text(json.dumps({"configs": {}}))
    follow("from: {where} {problem}", mistake=lambda: read(file), remedy=lambda: again(file, whole, file))


def test_metrics(follow: Any, logs: Path):
    follow(
        "metric: {task} has no metric {asked}",
        mistake=lambda: read(logs / "base", "f1"),
        remedy=lambda: judge_imported(logs / "base", logs / "candidate", Store(logs / "store"), tasks=["colours"]),
    )


def test_a_metric_that_is_no_score(follow: Any, tmp_path: Path):
    scores = {"match": {"value": 7}, "includes": {"value": "C"}}
    log = inspect_log(tmp_path / "log.json", samples=[{"id": 1, "epoch": 1, "input": "?", "target": "A", "scores": scores}])
    follow("and not a number from 0 to 1", mistake=lambda: read(log), remedy=lambda: read(log, "includes"))


def test_a_task_without_scores(follow: Any, tmp_path: Path):
    inspect_log(tmp_path / "logs" / "a.json")
    unscored = [{"id": 1, "epoch": 1, "input": "?", "target": "A", "scores": {}}]
    inspect_log(tmp_path / "logs" / "b.json", "u", samples=unscored)
    follow(
        "metric: {task} has no score of an item",
        mistake=lambda: read(tmp_path / "logs"),
        remedy=lambda: read(tmp_path / "logs" / "a.json"),
    )


def test_an_evaluation_that_did_not_end(follow: Any, tmp_path: Path):
    log = inspect_log(tmp_path / "log.json", status="error")
    follow("the evaluation of {file} {problem}", mistake=lambda: read(log), remedy=lambda: read(inspect_log(log)))


def test_a_log_without_samples(follow: Any, tmp_path: Path):
    log = inspect_log(tmp_path / "log.json", samples=[])
    follow("from: {file} has no samples", mistake=lambda: read(log), remedy=lambda: read(inspect_log(log)))


def test_an_archive_that_cannot_be_unpacked(follow: Any, tmp_path: Path):
    header = json.loads(inspect_log(tmp_path / "log.json").read_text())
    archive = tmp_path / "log.eval"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("header.json", json.dumps(header))
    # The number of a way of packing that Python does not know, in both places where an archive has it.
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.find(mark) + at
        content[place : place + 2] = (93).to_bytes(2, "little")
    archive.write_bytes(content)
    follow("cannot be unpacked", mistake=lambda: read(archive), remedy=lambda: read(tmp_path / "log.json"))


def test_metrics_as_text(follow: Any, tmp_path: Path):
    def write(metrics: Any) -> Path:
        rows = [{"full_prompt": "?", "choices": ["a"], "gold_index": [0], "metrics": metrics}]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "details_t_2026.parquet")
        return tmp_path

    follow("holds its metrics as text", mistake=lambda: read(write("{'acc': 1}")), remedy=lambda: read(write({"acc": 1})))


def test_runs_that_differ(follow: Any, tmp_path: Path, logs: Path):
    store, base = tmp_path / "store", logs / "base"
    same = judged(base, logs / "candidate", store)
    follow("differs: {left} in {base}", mistake=judged(base, logs / "limit", store), remedy=same)
    for name in ("a", "b"):
        inspect_log(tmp_path / name / "t.json")
    inspect_log(tmp_path / "b" / "u.json", "u")
    both = (tmp_path / "a", tmp_path / "b", tmp_path / "other")
    follow("task {one_sided} is in {path} alone", mistake=judged(*both), remedy=judged(*both, tasks=["t"]))
    follow("{path} has no task {name}", mistake=judged(*both, tasks=["v"]), remedy=judged(*both, tasks=["t"]))
    follow("task: {twice} is named", mistake=judged(*both, tasks=["t", "t"]), remedy=judged(*both, tasks=["t"]))
    more = [{"id": n, "epoch": 1, "input": "?", "target": "A", "scores": {"match": {"value": "C"}}} for n in (1, 2)]
    inspect_log(tmp_path / "b" / "t.json", samples=more)
    follow(
        "items are in one run alone",
        mistake=judged(*both, tasks=["t"]),
        remedy=lambda: [inspect_log(tmp_path / "a" / "t.json", samples=more), judged(*both, tasks=["t"])()],
    )


def test_the_store_of_another_study(follow: Any, tmp_path: Path, logs: Path):
    store = tmp_path / "store"
    judged(logs / "base", logs / "candidate", store)()
    manifest = store / "study.json"
    manifest.write_text(manifest.read_text().replace('"study": "imported"', '"study": "mine"'))
    follow(
        "is the store of study",
        mistake=judged(logs / "base", logs / "candidate", store),
        remedy=judged(logs / "base", logs / "candidate", tmp_path / "another"),
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["evaluate"], "none is given"),
        (["evaluate", "m", "--task", "recall", "--metric", "acc"], "metric and margin: they are of imported results"),
        (["evaluate", "--from", "base"], "results are given"),
        (["evaluate", "m", "--from", "base", "--from", "candidate"], "nothing is run where results are imported"),
    ],
)
def test_the_command_line(follow_line: Any, words: list[str], error: str, tmp_path: Path, logs: Path):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2

    def remedy() -> None:
        given = ["--from", str(logs / "base"), "--from", str(logs / "candidate"), "--store", str(tmp_path / "store")]
        assert CliRunner().invoke(app, ["evaluate", *given]).exit_code == 0

    follow_line(error, said=done.stderr.removeprefix("error: "), remedy=remedy)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a package that names an importer."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, name: str, value: str) -> None:
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[whichbits.importers]\n{name} = {value}\n" if name else "")
        importlib.invalidate_caches()

    return install


def test_importers_of_other_packages(follow: Any, installed: Callable[..., None]):
    importers = replace(IMPORTERS, _registered={}, _loaded={})
    ours = "whichbits.studies.store.importers.evalplus:EvalPlusImporter"
    follow("there is no {what} {name}", mistake=lambda: importers.get("theirs"), remedy=lambda: importers.get("evalplus"))
    installed("one", "theirs", ours)
    installed("two", "theirs", ours)
    follow(
        "several entry points of {group}",
        mistake=lambda: importers.get("theirs"),
        remedy=lambda: [installed("two", "", ""), importers.get("theirs")],
    )
    installed("two", "others", "decimal:Decimal")
    follow(
        "names is no {base}",
        mistake=lambda: importers.get("others"),
        remedy=lambda: [installed("two", "others", ours), importers.get("others")],
    )
    follow(
        "there is a {what} {name} already",
        mistake=lambda: importers.register("evalplus", EvalPlusImporter),
        remedy=lambda: importers.register("evalplus of ours", EvalPlusImporter),
    )
