from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from whichbits.reporting.capacity import capacity_rows
from whichbits.reporting.context import ReportContext
from whichbits.reporting.page import render
from whichbits.reporting.terminal import summary
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.verdict import CapacityFinding, Verdict


def found(candidate: str, rate: float, low: float, high: float | None, over: Estimate | None = None) -> CapacityFinding:
    return CapacityFinding(
        candidate=candidate, workload="chat", deployment="here", rate=rate, low=low, high=high, over_base=over, runs=9,
        steps=("ab" * 32,),
    )  # fmt: skip


@pytest.fixture
def with_capacity(verdict: Verdict) -> Verdict:
    ratio = Estimate(value=1.52, low=1.43, high=1.61)
    three = (found("bf16", 3.12, 3.01, 3.24), found("w8a8-int", 4.74, 4.59, 4.9, ratio), found("w8a8-fp", 4.0, 4.0, None))
    return verdict.model_copy(update={"capacity": three})


def test_rows(with_capacity: Verdict) -> None:
    rows = [(row.place, row.candidate, row.rate, row.ratio, row.runs) for row in capacity_rows(with_capacity)]
    assert rows == [
        ("chat", "bf16", "3.12/s (3.01 – 3.24)", "", 9),
        ("chat", "w8a8-int", "4.74/s (4.59 – 4.90)", "1.52× (1.43 – 1.61)", 9),
        ("chat", "w8a8-fp", "more than 4.00/s", "", 9),
    ]
    missed = with_capacity.model_copy(update={"capacity": (found("bf16", 2.0, 0.0, 2.0),)})
    assert capacity_rows(missed)[0].rate == "less than 2.00/s"


def test_the_terminal_and_the_page_show_them(with_capacity: Verdict, verdict: Verdict, context: ReportContext) -> None:
    out = io.StringIO()
    summary(with_capacity, Console(file=out, width=80))
    line = r"^chat +w8a8-int +4\.74/s \(4\.59 – 4\.90\) +1\.52× \(1\.43 – 1\.61\)$"
    assert re.search(line, out.getvalue(), re.MULTILINE)
    page = render(with_capacity, context)
    assert "4.74/s (4.59 – 4.90)" in page and "more than 4.00/s" in page
    assert "Highest rate at which the limits hold" not in render(verdict, context)
    assert "Target rate" not in page
    target = tuple(found.model_copy(update={"target_rate": 4.0}) for found in with_capacity.capacity)
    assert [row.reaches for row in capacity_rows(with_capacity.model_copy(update={"capacity": target}))] == [
        "not reached", "reached", "reached",
    ]  # fmt: skip
    assert "<td>not reached</td>" in render(with_capacity.model_copy(update={"capacity": target}), context)
