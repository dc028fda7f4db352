"""What serving costs, from stores of known speeds: every figure by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import whichbits
from whichbits.cli.app import app
from whichbits.core.errors import UserError
from whichbits.studies.costs import CandidateCost, CostReport, WorkloadCost


def store(written: Any, folder: Path, *, candidate: float, hardware: str, count: int = 1, speed: float = 1.0) -> Path:
    """A study of a base that serves 4 a second with four in flight, and 1 alone, and a candidate faster by a factor."""
    for name, pace in (("base", 1 / speed), ("w4a16", 1 / speed / candidate)):
        for streams in (1, 4):
            sent = written.kept_in_flight(streams, 12, ttft=0.2 * pace, gap=0.1 * pace, tokens=9, prompt=18)
            written.WRITERS["aiperf"](folder / name / str(streams), sent, streams=streams, model=f"org/{name}")
    whichbits.bench_from(folder / "base", folder / "w4a16", hardware=hardware, count=count, store=folder / "store")
    return folder / "store"


def place(report: CostReport, mode: str) -> WorkloadCost:
    return next(one for one in report.workloads if one.mode == mode)


def of(report: CostReport, mode: str, candidate: str) -> CandidateCost:
    return next(one for one in place(report, mode).candidates if one.candidate == candidate)


def test_dollars_of_a_query_and_its_tokens(written: Any, tmp_path: Path) -> None:
    """4 queries a second at 0.80 dollars an hour, of 18 tokens in and 9 out that count four times."""
    report = whichbits.list_costs([store(written, tmp_path, candidate=1.25, hardware="l4")])
    base = of(report, "asynchronous", "base")
    assert base.queries_per_second == pytest.approx(4, rel=1e-6)
    assert base.usd_per_query.value == pytest.approx(0.8 / 3600 / 4, rel=1e-6)
    assert base.usd_per_million.input == pytest.approx(1e6 * 0.8 / 3600 / 4 / 54, rel=1e-6)
    assert base.usd_per_million.output == pytest.approx(4 * base.usd_per_million.input)
    assert base.usd_per_million.blended == pytest.approx(1e6 * 0.8 / 3600 / 4 / 27, rel=1e-6)
    found = of(report, "asynchronous", "w4a16")
    assert found.cost_reduction is not None
    assert found.cost_reduction.value == pytest.approx(1.25, rel=1e-6)
    assert of(report, "synchronous", "base").usd_per_query.value == pytest.approx(0.8 / 3600, rel=1e-6)
    assert [one.candidate for one in place(report, "asynchronous").candidates] == ["w4a16", "base"]
    (mean,) = [one for one in report.reductions if one.mode == "asynchronous"]
    assert (mean.candidate, mean.workloads, mean.means.arithmetic) == ("w4a16", 1, pytest.approx(1.25, rel=1e-6))


def test_a_rate_takes_whole_replicas(written: Any, tmp_path: Path) -> None:
    """17 a second at 60 % of 4: 8 replicas of the base, and 6 of 5 a second."""
    report = whichbits.list_costs([store(written, tmp_path, candidate=1.25, hardware="l4")], rate=17, utilisation=0.6)
    for name, count, most in (("base", 8, 4), ("w4a16", 6, 5)):
        at = of(report, "asynchronous", name).at_rate
        assert at is not None
        assert (at.replicas, at.used) == (count, pytest.approx(17 / (count * most), rel=1e-6))
        assert at.usd_per_hour == pytest.approx(0.8 * count)
        assert at.usd_per_month == pytest.approx(0.8 * count * 730)


def test_each_format_on_the_devices_where_it_is_cheapest(written: Any, tmp_path: Path) -> None:
    """As in the paper: the base on two devices is twice as fast and no cheaper; the candidate fits into one, faster."""
    one = store(written, tmp_path / "one", candidate=1.5, hardware="l4", speed=0.4)
    two = store(written, tmp_path / "two", candidate=1.1, hardware="l4", count=2)
    report = whichbits.list_costs([one, two])
    base, found = (of(report, "asynchronous", name) for name in ("base", "w4a16"))
    assert (base.devices, base.queries_per_second) == (2, pytest.approx(4, rel=1e-6))
    assert (found.devices, found.queries_per_second) == (1, pytest.approx(0.4 * 4 * 1.5, rel=1e-6))
    assert found.cost_reduction is not None
    assert found.cost_reduction.value == pytest.approx((0.4 * 4 * 1.5 / 0.8) / (4 / 1.6), rel=1e-6)


def test_the_price_at_which_the_answer_changes(written: Any, tmp_path: Path) -> None:
    """Where what may be deployed is on other devices; a candidate without scores may not be."""
    report = whichbits.list_costs([store(written, tmp_path, candidate=1.25, hardware="l4")])
    assert of(report, "asynchronous", "w4a16").state not in ("base", "non-inferior")
    assert place(report, "asynchronous").flip is None
    assert {one.names for one in place(report, "asynchronous").by_rate} == {("base",)}


def test_prices_that_are_old_are_warned_of(written: Any, tmp_path: Path) -> None:
    report = whichbits.list_costs([store(written, tmp_path, candidate=1.25, hardware="a6000")])
    assert any("a6000" in warning and "days old" in warning for warning in report.warnings)


def test_the_command(written: Any, tmp_path: Path) -> None:
    folder = store(written, tmp_path, candidate=1.25, hardware="l4")
    told = CliRunner().invoke(app, ["cost", str(folder), "--rate", "18"], env={"COLUMNS": "300"})
    assert told.exit_code == 0, told.output
    assert "USD/1000 queries" in told.stdout
    found = json.loads(CliRunner().invoke(app, ["cost", str(folder), "--json"]).stdout)
    assert {one["mode"] for one in found["workloads"]} == {"synchronous", "asynchronous"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": 0.0}, "rate: 0 is out of range"),
        ({"utilisation": 1.5}, "utilisation: 1.5 is out of range"),
        ({"weight": ["rag=1"]}, "weight: rag is no workload that was measured"),
    ],
)
def test_terms_that_make_no_sense(options: dict[str, Any], said: str, written: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        whichbits.list_costs([store(written, tmp_path, candidate=1.25, hardware="l4")], **options)
