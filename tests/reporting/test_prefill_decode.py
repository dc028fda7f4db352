"""Prefill and decode apart, on the page."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from whichbits.reporting.citations import Citations
from whichbits.reporting.context import ReportContext
from whichbits.reporting.page import render
from whichbits.reporting.prefill_decode import batch_tables, footprint_rows, parts_rows
from whichbits.reporting.terminal import summary
from whichbits.schema.prefill_decode import Phase
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.phases import BatchFinding, FootprintFinding, LatencyParts
from whichbits.verdict.verdict import Verdict


def about(value: float) -> Estimate:
    return Estimate(value=value, low=0.98 * value, high=1.02 * value)


def found(candidate: str, phase: Phase, size: int, seconds: float, speedup: float | None, valid: bool = True) -> BatchFinding:
    return BatchFinding(
        candidate=candidate, deployment="here", phase=phase, batch_size=size, tokens=2048, seconds=about(seconds),
        tokens_per_second=about(size / seconds), speedup=None if speedup is None else about(speedup), rounds=3, valid=valid,
        reasons=(), steps=("ab" * 32,),
    )  # fmt: skip


@pytest.fixture
def apart(verdict: Verdict) -> Verdict:
    batches = (
        found("bf16", "prefill", 1, 0.3, None), found("bf16", "prefill", 16, 4.0, None),
        found("w8a8-int", "prefill", 16, 2.5, 1.6), found("w8a8-int", "prefill", 1, 0.2, 1.5),
        found("bf16", "decode", 1, 0.03, None), found("w8a8-int", "decode", 1, 0.02, 1.5, valid=False),
    )  # fmt: skip
    parts = LatencyParts(
        candidate="w8a8-int", workload="chat", deployment="here", load_level="synchronous", prefill_s=0.2, decode_s=0.6,
        measured_s=0.82,
    )  # fmt: skip
    return verdict.model_copy(update={"batches": batches, "latency_parts": (parts,)})


def test_a_column_a_size_of_the_batch(apart: Verdict) -> None:
    prefill, decode = batch_tables(apart, Citations(()))
    assert (prefill.title, prefill.sizes) == ("Prefill, prompts of 2,048 tokens", (1, 16))
    assert prefill.speedups == (("w8a8-int", ("1.50× (1.47 – 1.53)", "1.60× (1.57 – 1.63)")),)
    assert decode.speedups == (("w8a8-int", ("invalid",)),)
    assert [row.batch_size for row in prefill.rows] == [1, 1, 16, 16]
    assert decode.rows[0].seconds == "30.0 ms (29.4 – 30.6)"


def test_what_latency_is_made_of(apart: Verdict) -> None:
    (row,) = parts_rows(apart)
    assert (row.prefill, row.decode, row.bound_by) == ("200 ms", "600 ms", "decode, 75 %")
    assert (row.total, row.measured) == ("800 ms (−2.4 %)", "820 ms")


def test_the_terminal_says_what_most_of_the_latency_is(apart: Verdict) -> None:
    base = apart.latency_parts[0].model_copy(update={"candidate": "bf16", "prefill_s": 0.9})
    other = base.model_copy(update={"load_level": "concurrency 4"})
    both = apart.model_copy(update={"latency_parts": (*apart.latency_parts, base, other)})
    out = io.StringIO()
    summary(both, Console(file=out, width=100))
    assert " • chat, synchronous: decode (w8a8-int 75 %), prefill (bf16 60 %)\n" in out.getvalue()
    assert " • chat, concurrency 4: prefill (bf16 60 %)\n" in out.getvalue()


def test_what_a_server_takes(apart: Verdict) -> None:
    took = FootprintFinding(
        candidate="w8a8-int", deployment="here", start_s=41.4, peak_memory_bytes=2_410_000_000, kv_cache_tokens=58_240,
        steps=("ab" * 32,),
    )  # fmt: skip
    (row,) = footprint_rows(apart.model_copy(update={"footprints": (took,)}), Citations(()))
    assert (row.disk, row.start, row.memory, row.kv_cache_tokens) == ("163 MB", "41 s", "2.41 GB", "58,240")


def test_the_page_shows_them_where_they_were_measured(apart: Verdict, verdict: Verdict, context: ReportContext) -> None:
    page = render(apart, context)
    assert "Prefill and decode apart" in page and "1.60× (1.57 – 1.63)" in page and "decode, 75 %" in page
    assert "Prefill and decode apart" not in render(verdict, context)
