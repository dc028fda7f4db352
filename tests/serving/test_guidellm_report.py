"""What is measured, in GuideLLM's form: read back by the importer of that form, every request is as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.serve import ServeSummary
from whichbits.schema.workload import Workload
from whichbits.serving.evidence import of_requests
from whichbits.serving.guidellm_report import measured_in, write
from whichbits.serving.importers.registry import read
from whichbits.serving.importers.results import result_of
from whichbits.serving.metrics.registry import all_metrics
from whichbits.serving.observation import Observation
from whichbits.serving.result import LoadLevelResult, metrics_of, rows_of
from whichbits.serving.steady import steady
from whichbits.serving.workload import LoadLevel, at_concurrency, at_rate
from whichbits.studies.steps.shared.items import write_items

WORKLOAD = Workload(name="mine", prompt_tokens=16, output_tokens=9, concurrency=(4,), rate=(5.0,))


def seen(level: LoadLevel, length: float) -> list[Observation]:
    """Requests of 9 tokens in 5 chunks, each sent 10 ms after it was due; every one a little slower than the one before."""
    found = []
    for number in range(level.warmup + level.requests):
        slow = length * (1 + number / 1000)
        due = number * length / (level.concurrency or 5)
        found.append(
            Observation(
                number, number < level.warmup, due, due + 0.01, due + 0.2 * slow, due + 0.9 * slow, due + slow,
                16, 9, 5, (0.7 * slow / 4,) * 4, None, 16, 9,
            )
        )  # fmt: skip
    return found


def result(level: LoadLevel, observations: list[Observation]) -> LoadLevelResult:
    metrics, window = all_metrics(), steady(observations, level)
    found = metrics_of(observations, metrics, window)
    return LoadLevelResult(
        load_level=level.name, concurrency=level.concurrency, rate=level.rate, valid=True, reasons=(), metrics=found,
        evidence=of_requests(observations, level, found, window), rows=rows_of(observations, metrics),
    )  # fmt: skip


@pytest.fixture
def results() -> list[LoadLevelResult]:
    levels = at_concurrency(WORKLOAD, 1), at_concurrency(WORKLOAD, 4), at_rate(WORKLOAD, 5.0)
    return [result(level, seen(level, 1.0)) for level in levels]


def exported(folder: Path, results: list[LoadLevelResult], workload: Workload = WORKLOAD) -> Path:
    """The loads as a step keeps them, written as a report."""
    described = tuple(metric.described for metric in all_metrics())
    summary = ServeSummary(
        session="s", load_levels=tuple(one.level() for one in results), base_load_levels=(), metrics=described
    )
    write_items(folder, [row for one in results for role in ("base", "candidate") for row in one.table(role)])
    path = folder / "report.json"
    write(path, "org/model", measured_in(summary, folder / "items.parquet", workload, 1_790_000_000.0))
    return path


def test_read_back_every_request_has_the_metrics_that_it_had(results: list[LoadLevelResult], tmp_path: Path) -> None:
    run = read(exported(tmp_path, results))
    assert (run.tool, run.model) == ("guidellm", "org/model")
    back = [result_of(load, run.lacks, WORKLOAD) for load in run.loads]
    assert [(one.load_level, one.concurrency, one.rate) for one in back] == [
        (one.load_level, one.concurrency, one.rate) for one in results
    ]
    for load, one, before in zip(run.loads, back, results, strict=True):
        assert len(load.seen) == len(before.rows), "the warm-up is not kept"
        assert [request.chunks for request in load.seen] == [5] * len(load.seen)
        kept = before.rows[load.level.warmup :]
        assert len(one.rows) == len(kept) > 0
        for key in ("ttft_s", "tpot_s", "itl_s", "latency_s"):
            assert [row.values[key] for row in one.rows] == pytest.approx([row.values[key] for row in kept], abs=1e-6)
    late = [row.values["due_ttft_s"] - row.values["ttft_s"] for row in back[2].rows]  # type: ignore[operator]
    assert late == pytest.approx([0.01] * len(late), abs=1e-6), "of arrivals it is known when they were due"


def test_loads_follow_one_another_and_means_are_by_guidellms_names(results: list[LoadLevelResult], tmp_path: Path) -> None:
    written = json.loads(exported(tmp_path, results).read_text())["benchmarks"]
    starts = [[one["info"]["timings"]["request_start"] for one in load["requests"]["successful"]] for load in written]
    assert max(starts[0]) < min(starts[1]) <= max(starts[1]) < min(starts[2]) <= max(starts[2]) < 1_790_000_000.0
    alone, metrics = written[0]["metrics"], results[0].metrics
    assert alone["request_totals"] == {"successful": 10, "errored": 0, "incomplete": 0, "total": 10}
    assert alone["inter_token_latency_ms"]["successful"]["mean"] == pytest.approx(1000 * metrics.mean("tpot_s"))  # type: ignore[operator]
    assert alone["time_to_first_token_ms"]["successful"]["mean"] == pytest.approx(1000 * metrics.mean("ttft_s"))  # type: ignore[operator]
    assert written[2]["config"]["strategy"] == {"type_": "poisson", "rate": 5.0}


def test_a_request_that_failed_stays_one(tmp_path: Path) -> None:
    level = at_concurrency(WORKLOAD, 4)
    observations = seen(level, 1.0)
    observations[9] = replace(observations[9], first_token_s=None, last_token_s=None, error="lost")
    run = read(exported(tmp_path, [result(level, observations)]))
    assert [one.error for one in run.loads[0].seen if one.error] == ["failed"]


@pytest.mark.parametrize(("burstiness", "type_"), [("constant", "constant"), (1.0, "poisson"), (0.5, "rate 5, burstiness 0.5")])
def test_what_guidellm_has_no_word_for_keeps_ours(burstiness: float | str, type_: str, tmp_path: Path) -> None:
    workload = WORKLOAD.model_copy(update={"burstiness": burstiness})
    level = at_rate(workload, 5.0)
    written = json.loads(exported(tmp_path, [result(level, seen(level, 1.0))], workload).read_text())
    assert written["benchmarks"][0]["config"]["strategy"]["type_"] == type_


def test_a_folder_that_is_not_there(results: list[LoadLevelResult], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "none" / "report.json", "m", ())


def test_a_request_without_a_token_of_output_has_no_time_a_token(results: list[LoadLevelResult], tmp_path: Path) -> None:
    """As stores of earlier versions have it of a server whose usage was 0."""
    empty = [replace(one, output_tokens=0) for one in results[0].rows]
    report = json.loads(exported(tmp_path, [results[0].model_copy(update={"rows": tuple(empty)})]).read_text())
    assert "time_per_output_token_ms" not in report["benchmarks"][0]["metrics"]
