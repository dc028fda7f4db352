"""Remedies of speeds that other tools measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import whichbits
from whichbits.cli.app import app
from whichbits.schema.labels import Labels
from whichbits.serving.guidellm_report import write
from whichbits.serving.importers.registry import read
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.steps.shared.imported_speeds import result_of_round, steps_of
from whichbits.studies.store.manifest import FILE


@pytest.fixture
def result(written: Any, tmp_path: Path) -> Path:
    """A result of `vllm bench serve`."""
    made: Path = written.WRITERS["vllm-bench"](tmp_path / "base", written.kept_in_flight(4, 8), streams=4)
    return made


def changed(file: Path, edit: Callable[[Any], None]) -> bytes:
    """What a JSON file held before it was edited."""
    before = file.read_bytes()
    content = json.loads(before)
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return before


def again(file: Path, content: bytes, place: Path | None = None) -> None:
    file.write_bytes(content)
    read(place or file)


def test_what_is_not_there_or_not_known(follow: Any, result: Path, tmp_path: Path):
    follow("{path} is not there", mistake=lambda: read(tmp_path / "none"), remedy=lambda: read(result))
    (tmp_path / "a.txt").touch()
    follow("holds no {what} that are known here", mistake=lambda: read(tmp_path / "a.txt"), remedy=lambda: read(result))


def test_results_that_are_damaged(follow: Any, result: Path):
    whole = changed(result, lambda found: found.update(date="yesterday"))
    follow("from: {where} {problem}", mistake=lambda: read(result), remedy=lambda: again(result, whole))


def test_a_server_that_answered_nothing(follow: Any, result: Path):
    whole = changed(result, lambda found: found.update(errors=["refused"] * len(found["errors"])))
    follow("has no request that was answered", mistake=lambda: read(result), remedy=lambda: again(result, whole))


def test_requests_that_were_not_saved(follow: Any, result: Path):
    whole = changed(result, lambda found: found.pop("ttfts"))
    follow("of single requests", mistake=lambda: read(result), remedy=lambda: again(result, whole))


def test_all_at_once(follow: Any, result: Path, written: Any, tmp_path: Path):
    burst = written.WRITERS["vllm-bench"](tmp_path / "burst", written.kept_in_flight(8, 1), streams=None)
    follow("so that the load was never steady", mistake=lambda: read(burst), remedy=lambda: read(result))


def test_results_of_several_models(follow: Any, result: Path, written: Any):
    written.WRITERS["vllm-bench"](result.parent / "other", written.kept_in_flight(2, 8), streams=2, model="other")
    follow("holds results of several", mistake=lambda: read(result.parent), remedy=lambda: read(result.parent / "other"))


def test_guidellm(follow: Any, written: Any, tmp_path: Path):
    file = written.WRITERS["guidellm"](tmp_path / "run", written.kept_in_flight(4, 8), streams=4)
    whole = changed(file, lambda found: found["benchmarks"][0]["requests"]["successful"].pop())
    follow("keeps {kept} of {made} requests", mistake=lambda: read(file), remedy=lambda: again(file, whole))

    def emptied(found: Any) -> None:
        found["benchmarks"][0]["requests"]["successful"].clear()
        found["benchmarks"][0]["metrics"]["request_totals"]["successful"] = 0

    changed(file, emptied)
    follow("has a benchmark without a request", mistake=lambda: read(file), remedy=lambda: again(file, whole))


def test_aiperf(follow: Any, written: Any, tmp_path: Path):
    folder = written.WRITERS["aiperf"](tmp_path / "run", written.kept_in_flight(4, 8), streams=4)
    file = folder / "profile_export_aiperf.json"
    whole = file.read_bytes()
    file.unlink()
    follow("which says the load", mistake=lambda: read(folder), remedy=lambda: again(file, whole, folder))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("per_request_lifecycle_metrics.json", "from: {path} has no per_request_lifecycle_metrics.json"),
        ("config.yaml", "has no config.yaml"),
        ("stage_0_lifecycle_metrics.json", "has no report of a stage"),
    ],
)
def test_inference_perf(name: str, error: str, follow: Any, written: Any, tmp_path: Path):
    folder = written.WRITERS["inference-perf"](tmp_path / "run", written.kept_in_flight(4, 8), streams=4)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    follow(error, mistake=lambda: read(folder), remedy=lambda: again(folder / name, whole, folder))


def test_a_store_of_other_models(follow: Any, result: Path, written: Any, tmp_path: Path):
    other = written.WRITERS["vllm-bench"](tmp_path / "other", written.kept_in_flight(4, 8), streams=4, model="org/other")
    store = tmp_path / "store"
    whichbits.bench_from(result, other, store=store)
    manifest = json.loads((store / FILE).read_text())
    for step in manifest["steps"]:
        step["kind"] = "evaluate"  # scores of these two, as far as anyone asks
    (store / FILE).write_text(json.dumps(manifest))
    third = Path(shutil.copytree(other.parent, tmp_path / "third"))
    changed(next(third.iterdir()), lambda found: found.update(model_id="third"))
    follow(
        "holds results of {there}",
        mistake=lambda: whichbits.bench_from(result, third, store=store),
        remedy=lambda: whichbits.bench_from(result, third, store=tmp_path / "another"),
    )


def test_the_command(follow_line: Any, result: Path, tmp_path: Path):
    pair = ["--from", str(result), "--from", str(result), "--store", str(tmp_path / "store")]

    def refused(*words: str) -> str:
        done = CliRunner().invoke(app, ["bench", *words])
        assert done.exit_code == 2, done.output
        return done.stderr.partition("error: ")[2]

    def compared() -> None:
        assert CliRunner().invoke(app, ["bench", *pair]).exit_code == 0

    follow_line("nothing is measured where results are imported", said=refused("model", *pair), remedy=compared)
    follow_line("{missing}: none is given", said=refused(), remedy=compared)
    follow_line(
        "hardware: it is of imported results", said=refused("m", "--workload", "rag", "--hardware", "l4"), remedy=compared
    )
    follow_line("from: {results} results are given", said=refused("--from", str(result)), remedy=compared)


def test_an_export_into_a_folder_that_is_not_there(follow: Any, tmp_path: Path):
    follow(
        "export: {path} cannot be written",
        mistake=lambda: write(tmp_path / "none" / "report.json", "model", ()),
        remedy=lambda: write(tmp_path / "report.json", "model", ()),
    )


STUDY = """\
version: 1
name: mixed
model: {model}
candidates: [{{format: w8a8-int, run: emulated}}]
speeds: [{{name: chat, from: {{{files}}}{more}}}]
"""


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("base: {0}, w8a8-fp: {0}", "is no candidate"),
        ("w8a8-int: {0}", "names not both the base and a candidate"),
        ("base: {0}", "names not both the base and a candidate"),
    ],
)
def test_a_study_names_the_results_of_base_and_candidates(
    wrong: str, error: str, follow: Any, result: Path, tiny_llama: Path
) -> None:
    def planned(files: str) -> None:
        text = STUDY.format(model=tiny_llama, files=files.format(result), more="")
        Expansion(*parse(text, "mixed.yaml"), ask_servers=False).plan()

    right = "base: {0}, w8a8-int: {0}"
    refused = follow(error, mistake=lambda: planned(wrong), remedy=lambda: planned(right))
    assert str(refused).startswith("mixed.yaml, line 5: speeds.0.from")


def test_a_result_that_has_changed_since_the_plan(follow: Any, result: Path, tmp_path: Path) -> None:
    def kept() -> None:
        result_of_round(step, read(result), read(result), tmp_path)

    (step,) = steps_of(read(result), read(result), Labels())
    whole = changed(result, lambda found: found.update(ttfts=[ttft / 2 for ttft in found["ttfts"]]))
    follow("has changed since the study was planned", mistake=kept, remedy=lambda: again(result, whole))
    kept()
