"""The same requests in the form of each tool: the same metrics, by our definitions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.serving.importers.importer import DUE, ImportedRun
from whichbits.serving.importers.registry import SPEED_IMPORTERS, read
from whichbits.serving.importers.results import described, result_of, workload_of
from whichbits.serving.result import LoadLevelResult

TOOLS = ("vllm-bench", "guidellm", "aiperf", "inference-perf")


def results(run: ImportedRun) -> list[LoadLevelResult]:
    workload = workload_of(run.loads, "imported")
    return [result_of(load, run.lacks, workload) for load in run.loads]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_closed_loop_has_the_metrics_of_its_delays(tool: str, written: Any, tmp_path: Path) -> None:
    """4 streams, 0.2 s to the first of 9 tokens, then 0.1 s each: a request takes 1 s, and 4 are served each second."""
    path = written.WRITERS[tool](tmp_path / "run", written.kept_in_flight(4, 8), streams=4)
    run = read(path)
    assert (run.tool, run.model) == (tool, "org/base")
    (found,) = results(run)
    assert (found.load_level, found.concurrency, found.arrivals, found.valid) == ("concurrency 4", 4, None, True), found.reasons
    metrics = found.metrics
    assert metrics.requests_per_second == pytest.approx(4, rel=1e-6)
    assert metrics.output_tokens_per_second == pytest.approx(36, rel=1e-6)
    assert metrics.mean("ttft_s") == pytest.approx(0.2, abs=1e-6)
    assert metrics.mean("tpot_s") == pytest.approx(0.1, abs=1e-6)
    assert metrics.mean("latency_s") == pytest.approx(1.0, abs=1e-6)
    assert metrics.mean("due_latency_s") == pytest.approx(1.0, abs=1e-6)
    assert metrics.mean("itl_s") == (None if tool == "guidellm" else pytest.approx(0.1, abs=1e-6))
    assert found.evidence.requests == 28, "the first wave of four is the warm-up"
    assert found.evidence.in_flight == pytest.approx(4, rel=1e-6)
    assert found.evidence.client_cpu is None
    assert [row.values["itl_s"] for row in found.rows] == pytest.approx([0.1] * len(found.rows), abs=1e-6)


@pytest.mark.parametrize("tool", TOOLS)
def test_one_request_at_a_time_is_synchronous(tool: str, written: Any, tmp_path: Path) -> None:
    (found,) = results(read(written.WRITERS[tool](tmp_path / "run", written.kept_in_flight(1, 12), streams=1)))
    assert (found.load_level, found.valid) == ("synchronous", True)
    assert found.metrics.requests_per_second == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("tool", TOOLS)
def test_arrivals_at_a_rate(tool: str, written: Any, tmp_path: Path) -> None:
    """One each quarter of a second, called a Poisson process; only two of the tools say of each when it was due."""
    sent = [replace(written.kept_in_flight(1, 1)[0], start=number * 0.25) for number in range(110)]
    options = {"rate": 4.0} if tool != "vllm-bench" else {"request_rate": 4.0}
    run = read(written.WRITERS[tool](tmp_path / "run", sent, streams=None, **options))
    (found,) = results(run)
    assert (found.load_level, found.arrivals, found.rate, found.valid) == ("rate 4", "rate", 4.0, True)
    assert found.evidence.requests == 100
    assert found.metrics.requests_per_second == pytest.approx(4, rel=0.02)
    assert run.lacks == (DUE if tool == "inference-perf" else frozenset())
    assert {metric.key for metric in described(run.lacks)} >= {"latency_s", "ttft_s", "tpot_s"}
    assert (found.evidence.dispatch_delay_s is None) == (tool == "inference-perf")
    assert found.evidence.drift is None, "a queue is no drift"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_request_that_failed_makes_the_load_invalid(tool: str, written: Any, tmp_path: Path) -> None:
    sent = written.kept_in_flight(4, 8)
    sent[20] = replace(sent[20], error="HTTP 503")
    (found,) = results(read(written.WRITERS[tool](tmp_path / "run", sent, streams=4)))
    assert not found.valid
    assert found.evidence.errors == 1
    assert "HTTP 503" in (found.evidence.first_error or "")


@pytest.mark.parametrize("tool", TOOLS)
def test_all_at_once_is_no_steady_load(tool: str, written: Any, tmp_path: Path) -> None:
    path = written.WRITERS[tool](tmp_path / "run", written.kept_in_flight(8, 1), streams=8)
    with pytest.raises(UserError, match="never steady"):
        read(path)


def test_several_tokens_a_chunk(written: Any, tmp_path: Path) -> None:
    """Chunks of two tokens: the gap between chunks is twice the time of a token."""
    sent = [replace(one, gaps=(0.2,) * 4, tokens=10) for one in written.kept_in_flight(2, 8)]
    for tool in TOOLS:
        (found,) = results(read(written.WRITERS[tool](tmp_path / tool, sent, streams=2)))
        assert found.metrics.mean("tpot_s") == pytest.approx(0.8 / 9, abs=1e-6)
        assert found.evidence.tokens_per_chunk == pytest.approx(2)
        assert [row.values["itl_s"] for row in found.rows] == pytest.approx([0.2] * len(found.rows), abs=1e-6)


def test_a_client_that_hands_over_late_is_seen(written: Any, tmp_path: Path) -> None:
    """Streams that wait 0.1 s before each request of 1 s: it was due when the one before it ended."""
    sent = [replace(one, start=one.start * 1.1) for one in written.kept_in_flight(4, 8)]
    (found,) = results(read(written.WRITERS["vllm-bench"](tmp_path / "run", sent, streams=4)))
    assert found.evidence.dispatch_delay_s == pytest.approx(0.1, abs=1e-6)
    assert not found.valid
    assert any(reason.startswith("client saturated") for reason in found.reasons)


def test_requests_that_were_cut_off_end_the_steady_window(written: Any, tmp_path: Path) -> None:
    """A run that is ended by the clock leaves requests in flight; the time in which they were is no part of the window."""
    import json

    file = written.WRITERS["guidellm"](tmp_path / "run", written.kept_in_flight(4, 9), streams=4)
    report = json.loads(file.read_text())
    requests = report["benchmarks"][0]["requests"]
    requests["incomplete"] = [requests["successful"].pop() for _ in range(4)]
    report["benchmarks"][0]["metrics"]["request_totals"]["successful"] -= 4
    file.write_text(json.dumps(report))
    (found,) = results(read(file))
    assert found.valid
    assert found.metrics.requests_per_second == pytest.approx(4, rel=1e-6)


def test_repeats_of_a_load_in_a_folder(written: Any, tmp_path: Path) -> None:
    for minute in range(3):
        written.WRITERS["vllm-bench"](tmp_path, written.kept_in_flight(4, 8), streams=4, date=f"20261101-12{minute:02}00")
    written.WRITERS["vllm-bench"](tmp_path, written.kept_in_flight(1, 8), streams=1)
    assert sorted(load.level.name for load in read(tmp_path).loads) == ["concurrency 4"] * 3 + ["synchronous"]


def test_results_appended_to_one_file(written: Any, tmp_path: Path) -> None:
    file = written.WRITERS["vllm-bench"](tmp_path, written.kept_in_flight(4, 8), streams=4)
    file.write_text(file.read_text() + "\n" + file.read_text())
    assert len(read(file).loads) == 2


def test_an_importer_of_an_installed_package(bring: Any, put_on_path: Any, tmp_path: Path) -> None:
    code = """
from whichbits.serving.importers.importer import ImportedRun, SpeedImporter, in_flight, observed

class Ours(SpeedImporter):
    name = "ours"
    reads = "a file *.ours"

    def recognizes(self, path):
        return path.suffix == ".ours"

    def read(self, path):
        starts = [float(line) for line in path.read_text().split()]
        seen = [
            observed(
                start_s=s, first_token_s=s + 0.5, last_token_s=s + 1, end_s=s + 1, prompt_tokens=8, output_tokens=6, chunks=6
            )
            for s in starts
        ]
        return ImportedRun(self.name, path, "m", (), (in_flight(seen, 1, began=0.0, path=path),))
"""
    put_on_path(bring(tmp_path, {"brought.py": code}, "[whichbits.speed_importers]\nours = brought:Ours\n"))
    file = tmp_path / "a.ours"
    file.write_text("\n".join(str(number) for number in range(10)))
    assert "ours" in SPEED_IMPORTERS.names()
    (found,) = results(read(file))
    assert (found.valid, found.metrics.mean("tpot_s")) == (True, pytest.approx(0.1))


NONE = ("NaN", "Infinity", "-3.0", '"8"', "null", "true", "1" + "0" * 400)
DAMAGED = {
    "vllm-bench": ("ttfts", "start_times", "output_lens", "input_lens", "itls", "latencies", "request_rate", "max_concurrency"),
    "guidellm": ("request_start", "request_end", "first_token_iteration", "output_tokens", "prompt_tokens", "streams"),
    "aiperf": ("request_start_ns", "time_to_first_token", "output_sequence_length", "inter_chunk_latency", "concurrency"),
    "inference-perf": ("start_time", "end_time", "output_token_times", "completion_tokens", "concurrency"),
}
"""Fields of each tool that are times or counts."""
MAY_BE_NULL = frozenset(
    {
        "request_start",
        "request_end",
        "first_token_iteration",
        "output_tokens",
        "prompt_tokens",
        "latencies",
        "completion_tokens",
    }
)
"""Fields that a tool leaves out of some requests."""


def spoilt(text: str, field: str, value: str) -> str:
    """JSON with another number in the places of a field, or in the first of a list there."""
    found, times = re.subn(rf'("{field}": (?:\{{"value": )?\[*)(?:-?[0-9.e+-]+|"inf")', rf"\g<1>{value}", text)
    assert times
    return found


@pytest.mark.parametrize("value", NONE)
@pytest.mark.parametrize(("tool", "field"), [(tool, field) for tool, fields in DAMAGED.items() for field in fields])
def test_what_stands_for_a_time_or_a_count_and_is_none_is_refused(
    tool: str, field: str, value: str, written: Any, tmp_path: Path
) -> None:
    place = written.WRITERS[tool](tmp_path / "run", written.kept_in_flight(4, 8), streams=4)
    files = [place] if place.is_file() else sorted(place.iterdir())
    (file,) = [file for file in files if f'"{field}": ' in file.read_text()][-1:]
    file.write_text(spoilt(file.read_text(), field, value))
    if value == "null" and (field in MAY_BE_NULL or (tool, field) == ("aiperf", "concurrency")):
        return
    if (field, value) == ("request_rate", "Infinity"):  # all at once, as vLLM calls it
        return
    with pytest.raises(UserError) as caught:
        results(read(place))
    assert "\n" not in caught.value.message and len(caught.value.message) < 500
