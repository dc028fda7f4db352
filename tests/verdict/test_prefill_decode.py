"""Speed-ups of prefill and decode, and what the latency of a load is made of."""

from __future__ import annotations

from typing import Any

import pytest

from whichbits.schema.step import Record
from whichbits.schema.workload import Workload
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.prefill_decode import between
from whichbits.verdict.verdict import Verdict


def batch(phase: str, size: int, tokens: int, *seconds: float, reasons: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "phase": phase, "batch_size": size, "tokens": tokens, "seconds": seconds, "valid": not reasons, "reasons": reasons,
    }  # fmt: skip


def measured(steps: Any, repeat: int, ours: list[dict[str, Any]], base: list[dict[str, Any]]) -> Record:
    labels = {"candidate": "w8a8-int", "deployment": "here", "repeat": str(repeat)}
    summary = {"session": "one", "order": [], "batches": ours, "base_batches": base}
    record: Record = steps.record("prefill_decode", labels, summary)
    return record


def judged(records: list[Record], workloads: dict[str, Workload] | None = None) -> Verdict:
    formats = {"bf16": "bf16", "w8a8-int": "w8a8-int"}
    return decide(collect(records, "bf16", formats, workloads=workloads), study="s", model="m")


def test_a_speed_up_is_paired_by_round(steps: Any) -> None:
    """The machine is twice as slow in the second round; the candidate is 1.6 times as fast in both."""
    records = []
    for repeat, slow in enumerate((1.0, 2.0)):
        ours, base = batch("prefill", 8, 512, 0.99 * slow, 1.01 * slow), batch("prefill", 8, 512, 1.6 * slow, 1.6 * slow)
        records.append(measured(steps, repeat, [ours], [base]))
    reference, found = judged([*records, steps.probe("w8a8-int")]).batches
    assert (reference.candidate, reference.speedup, reference.rounds) == ("bf16", None, 2)
    assert isinstance(found.speedup, Estimate) and found.speedup.value == pytest.approx(1.6)
    assert 1.5 < found.speedup.low < 1.6 < found.speedup.high < 1.7
    assert found.tokens_per_second.value == pytest.approx(8 * 512 / 2**0.5, rel=1e-6)
    assert (found.rounds, found.valid, found.reasons) == (2, True, ())


def test_what_is_not_valid_enters_no_speed_up(steps: Any) -> None:
    bad = batch("decode", 1, 512, 9.0, 9.0, reasons=("errors: one",))
    good, base = batch("decode", 1, 512, 0.02, 0.02), batch("decode", 1, 512, 0.03, 0.03)
    _, ours = judged([measured(steps, 0, [good], [base]), measured(steps, 1, [bad], [base]), steps.probe("w8a8-int")]).batches
    assert isinstance(ours.speedup, SingleRound) and ours.speedup.value == pytest.approx(1.5)
    assert [reason.code for reason in ours.reasons] == ["round_invalid", "one_round"]
    assert ours.tokens_per_second.value == pytest.approx(50)
    _, none = judged([measured(steps, 0, [bad], [base]), steps.probe("w8a8-int")]).batches
    assert not none.valid and none.speedup is None
    _, reference = judged([measured(steps, 0, [good], [base]), steps.probe("w8a8-int", "reference")]).batches
    assert not reference.valid and reference.reasons[-1].code == "kernel_not_native"


def test_a_load_is_bound_by_the_longer_part(steps: Any) -> None:
    """128 tokens in and 32 out: one prefill and 31 steps at the context half-way, 144."""
    points = [
        (phase, size, tokens, seconds * size)
        for phase, tokens, seconds in (("prefill", 128, 0.1), ("decode", 128, 0.02), ("decode", 160, 0.03))
        for size in (1, 8)
    ]
    ours = [batch(phase, size, tokens, seconds, seconds) for phase, size, tokens, seconds in points]
    records = [measured(steps, 0, ours, ours), steps.serve("w8a8-int", 0, {1: (0.9, 0.9), 4: (3.4, 3.4), 16: (9.0, 9.0)})]
    workload = Workload(name="chat", prompt_tokens=128, output_tokens=32)
    found = {
        (one.candidate, one.load_level): one
        for one in judged([*records, steps.probe("w8a8-int")], {"chat": workload}).latency_parts
    }
    assert {load for _, load in found} == {"synchronous", "concurrency 4"}, "16 in flight were not measured apart"
    alone, four = found["w8a8-int", "synchronous"], found["w8a8-int", "concurrency 4"]
    assert (alone.prefill_s, alone.decode_s) == pytest.approx((0.1, 31 * 0.025))
    assert (four.prefill_s, four.decode_s) == pytest.approx((0.4, 4 * 31 * 0.025))
    assert alone.bound_by == "decode" and alone.share == pytest.approx(0.775 / 0.875)
    assert alone.measured_s == pytest.approx(0.9, rel=0.05)


def test_what_a_server_takes_is_the_median_over_rounds(steps: Any) -> None:
    records = []
    for repeat, start in enumerate((30.0, 99.0, 31.0)):
        labels = {"candidate": "w8a8-int", "deployment": "here", "repeat": str(repeat)}
        took = {"footprint": {"start_s": start, "kv_cache_tokens": 4096}, "base_footprint": {"peak_memory_bytes": 5}}
        records.append(steps.record("prefill_decode", labels, {"session": "one", "batches": [], "base_batches": [], **took}))
    base, own = judged([*records, steps.probe("w8a8-int")]).footprints
    assert (base.candidate, base.start_s, base.peak_memory_bytes) == ("bf16", None, 5)
    assert (own.start_s, own.kv_cache_tokens, own.peak_memory_bytes, len(own.steps)) == (31.0, 4096, None, 3)


def test_times_between_what_was_measured() -> None:
    table = {(1, 100): 1.0, (1, 200): 2.0, (8, 100): 8.0, (8, 200): 15.0}
    assert between(table, 1, 100) == 1.0
    assert between(table, 1, 150) == pytest.approx(1.5)
    assert between(table, 4, 150) == pytest.approx(1.5 + (11.5 - 1.5) * 3 / 7)
    assert between(table, 9, 100) is None and between(table, 1, 99) is None and between({}, 1, 100) is None
