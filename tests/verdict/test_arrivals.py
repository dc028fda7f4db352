"""Loads of arrivals: whether the limits are kept there, and the latency over the base's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.phases import ArrivalsFinding

FORMATS = {"bf16": "bf16", "w8a8-int": "w8a8-int"}


def found(steps: Any, limit: float | None, *, valid: bool = True) -> dict[str, ArrivalsFinding]:
    """Three rounds at 3 requests a second: 0.5 s with the candidate, 1 s with the base, all within 1 %."""
    records = [steps.probe("w8a8-int")]
    records += [
        steps.serve("w8a8-int", r, {16: (0.5 * w, w)}, spread=1e-4, valid=valid) for r, w in enumerate((1.0, 1.01, 0.99))
    ]
    findings = collect(records, "bf16", FORMATS, workloads=steps.within(latency=limit) if limit is not None else {})
    at_rate = {"load_level": "rate 3", "arrivals": "rate", "rate": 3.0, "concurrency": None}
    rounds = tuple(replace(one, **at_rate) for one in findings.rounds)
    return {one.candidate: one for one in decide(replace(findings, rounds=rounds), study="s", model="m").arrivals}


@pytest.mark.parametrize(
    ("limit", "standing"), [(0.7, ("missed", "kept")), (1.005, ("open", "kept")), (2.0, ("kept", "kept")), (None, (None, None))]
)
def test_who_keeps_the_limits_at_a_rate_and_how_soon_it_answers(
    steps: Any, limit: float | None, standing: tuple[str | None, str | None]
) -> None:
    both = found(steps, limit)
    assert (both["bf16"].limits, both["w8a8-int"].limits) == standing
    assert (both["bf16"].rate, both["bf16"].kind, both["bf16"].latency) == (3.0, "rate", None)
    ratio = both["w8a8-int"].latency
    assert isinstance(ratio, Estimate) and ratio.low < 0.5 < ratio.high < 0.51 and both["w8a8-int"].valid


def test_what_is_not_valid_says_nothing(steps: Any) -> None:
    both = found(steps, 2.0, valid=False)
    assert {(one.limits, one.latency, one.valid) for one in both.values()} == {(None, None, False)}
