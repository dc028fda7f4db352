from __future__ import annotations

from whichbits.reporting.arrivals import arrivals_rows
from whichbits.reporting.citations import Citations
from whichbits.reporting.context import ReportContext
from whichbits.reporting.page import render
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.phases import ArrivalsFinding
from whichbits.verdict.verdict import Verdict

FASTER = Estimate(value=0.81, low=0.72, high=0.91)


def found(candidate: str, load_level: str, limits: str | None, latency: Estimate | None = None) -> ArrivalsFinding:
    return ArrivalsFinding(
        candidate=candidate, workload="chat", deployment="here", load_level=load_level, kind="rate", rate=3.0, limits=limits,
        latency=latency, valid=limits is not None, steps=("ab" * 32,),
    )  # type: ignore[arg-type]  # fmt: skip


def test_the_page_says_of_each_load_who_keeps_the_limits_and_how_soon_it_answers(
    verdict: Verdict, context: ReportContext
) -> None:
    measured = (
        found("bf16", "rate 3", "missed"), found("bf16", "rate 4", "missed"), found("w8a8-int", "rate 3", "kept", FASTER),
        found("w8a8-int", "rate 4", None),
    )  # fmt: skip
    with_arrivals = verdict.model_copy(update={"arrivals": measured})
    rows = [(r.load, r.candidate, r.latency, r.limits, r.valid) for r in arrivals_rows(with_arrivals, Citations(context.steps))]
    assert rows == [
        ("rate 3", "bf16", "", "not kept", True),
        ("rate 3", "w8a8-int", "0.81× (0.72 – 0.91)", "kept", True),
        ("rate 4", "bf16", "", "not kept", True),
        ("rate 4", "w8a8-int", "", "", False),
    ]
    page = render(with_arrivals, context)
    assert 'id="arrivals"' in page and "0.81× (0.72 – 0.91)" in page
    assert 'id="arrivals"' not in render(verdict, context)
