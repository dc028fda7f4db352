"""The whole verdict, from findings to its file."""

import pytest

from tests.verdict.judged import BASE, N, decision, non_inferior_pair, speeds, verdict, with_flips
from whichbits.verdict.verdict import Verdict


def test_the_emulations_own_error_is_emulated_minus_served(steps):
    records = []
    for name, served, emulated in (("bf16", BASE, BASE), ("w8a8-int", with_flips(5, 5), with_flips(25, 5))):
        records += [steps.evaluate(name, served), steps.evaluate(name, emulated, engine="emulated")]
    found = verdict(records, "w8a8-int")
    error = next(e for e in found.emulation if e.candidate == "w8a8-int")
    assert error.difference.value == pytest.approx(-20 / N)
    assert error.disagreements == 20 / N
    assert [s.engine for s in found.suites] == ["vllm", "emulated"]
    assert decision(found, "w8a8-int").suite == found.suites[0]


def test_sizes_are_relative_to_the_base(steps):
    summary = {"bytes": 260, "bits_per_weight": 4.25, "seconds": 1.0, "manifest": {}}
    labels = {"candidate": "w4a16-int", "format": "w4a16-int"}
    found = verdict([steps.record("quantize", labels, summary)], "w4a16-int")
    assert [(s.candidate, s.ratio, s.bits_per_weight) for s in found.sizes] == [("bf16", 1.0, None), ("w4a16-int", 0.26, 4.25)]


def test_same_findings_same_verdict_and_it_survives_the_file(steps):
    records = [*non_inferior_pair(steps, int4=(110, 90)), *speeds(steps, "w8a8-int", synchronous=0.8, loaded=0.8)]
    first, again = (verdict(records, "w8a8-int", "w4a16-int") for _ in range(2))
    assert first == again
    assert Verdict.model_validate_json(first.model_dump_json()) == first


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_outside_its_range_is_refused(steps, margin):
    with pytest.raises(ValueError, match="margin is"):
        verdict([], margin=margin)
