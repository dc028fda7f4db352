"""Prefill and decode apart: each format's speed-up by size of the batch, and what the latency of each load is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from whichbits.reporting.citations import Citations
from whichbits.reporting.numbers import byte_size, drawn, duration, interval, percent, seconds_interval, significant, times
from whichbits.reporting.panels import by, series_of
from whichbits.reporting.plot import Sweep, SweepPoint, sweep
from whichbits.reporting.scale import from_zero
from whichbits.schema.prefill_decode import Phase
from whichbits.verdict.phases import BatchFinding, LatencyParts
from whichbits.verdict.verdict import Verdict
from whichbits.verdict.words.recommendations import speed_reason

LENGTH: dict[Phase, str] = {"prefill": "prompts of {:,} tokens", "decode": "a context of {:,} tokens"}


@dataclass(frozen=True)
class BatchRow:
    """A candidate's prefill or decode step at one size and length."""

    batch_size: int
    candidate: str
    seconds: str
    rate: str
    speedup: str
    valid: bool
    reasons: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class BatchTable:
    """A phase at one length, on one deployment: a row a candidate, a speed-up a size of the batch."""

    phase: Phase
    title: str
    deployment: str
    sizes: tuple[int, ...]
    speedups: tuple[tuple[str, tuple[str, ...]], ...]
    """Of each candidate, a text a size."""
    rows: tuple[BatchRow, ...]
    chart: Markup


@dataclass(frozen=True)
class FootprintRow:
    """What a candidate's server takes."""

    candidate: str
    disk: str
    start: str
    memory: str
    kv_cache_tokens: str
    cites: Markup


@dataclass(frozen=True)
class PartsRow:
    """What the latency of a candidate at a load is made of."""

    workload: str
    load_level: str
    candidate: str
    prefill: str
    decode: str
    bound_by: str
    total: str
    measured: str


def batch_tables(verdict: Verdict, citations: Citations) -> list[BatchTable]:
    """A table for each deployment, phase and length, prefill first."""
    return [
        _table(verdict, phase, tokens, deployment, found, citations)
        for (deployment, phase, tokens), found in by(verdict.batches, "deployment", "phase", "tokens").items()
    ]


def _table(
    verdict: Verdict, phase: Phase, tokens: int, deployment: str, found: Sequence[BatchFinding], citations: Citations
) -> BatchTable:
    sizes = tuple(sorted({one.batch_size for one in found}))
    others = {name: values for (name,), values in by(found, "candidate").items() if name != verdict.base}
    title = f"{phase.capitalize()}, {LENGTH[phase].format(tokens)}"
    return BatchTable(
        phase=phase,
        title=title,
        deployment=deployment,
        sizes=sizes,
        speedups=tuple((name, tuple(_speedup(values, size) for size in sizes)) for name, values in others.items()),
        rows=tuple(
            BatchRow(
                one.batch_size,
                one.candidate,
                seconds_interval(one.seconds),
                interval(one.tokens_per_second, "tokens/s"),
                times(one.speedup) if one.speedup is not None else "",
                one.valid,
                tuple(map(speed_reason, one.reasons)),
                one.steps,
            )
            for one in sorted(found, key=lambda one: one.batch_size)
        ),
        chart=_chart(verdict, others, sizes, title, citations),
    )


def _speedup(values: Sequence[BatchFinding], size: int) -> str:
    one = next((one for one in values if one.batch_size == size), None)
    if one is None or one.speedup is None:
        return ""
    return times(one.speedup) if one.valid else "invalid"


def _chart(
    verdict: Verdict, others: dict[str, list[BatchFinding]], sizes: Sequence[int], title: str, citations: Citations
) -> Markup:
    """Speed-up over the base by size of the batch, a line a candidate."""
    series = series_of(verdict)
    sweeps = [
        Sweep(
            name,
            series.get(name, "s0"),
            tuple(
                SweepPoint(
                    sizes.index(one.batch_size),
                    drawn(one.speedup),
                    one.valid,
                    f"{name}, batch of {one.batch_size}: {times(one.speedup)} as fast as {verdict.base}",
                    citations.link(one.steps),
                )
                for one in sorted(values, key=lambda one: one.batch_size)
                if one.speedup is not None
            ),
        )
        for name, values in others.items()
    ]
    y = from_zero([point.y for one in sweeps for point in one.points], count=4)
    return sweep(sweeps, [str(size) for size in sizes], y, unit="×", label=f"speed-up, {title}")


def cited(tables: Sequence[BatchTable], citations: Citations) -> list[tuple[BatchTable, list[tuple[BatchRow, Markup]]]]:
    """Tables with the steps of their rows as links."""
    return [(table, [(row, citations.cite(row.steps)) for row in table.rows]) for table in tables]


def footprint_rows(verdict: Verdict, citations: Citations) -> list[FootprintRow]:
    """A row for each server whose footprint is known."""
    sizes = {size.candidate: byte_size(size.bytes) for size in verdict.sizes}
    return [
        FootprintRow(
            one.candidate,
            sizes.get(one.candidate, ""),
            "" if one.start_s is None else duration(one.start_s),
            "" if one.peak_memory_bytes is None else byte_size(one.peak_memory_bytes),
            "" if one.kv_cache_tokens is None else f"{one.kv_cache_tokens:,}",
            citations.cite(one.steps),
        )
        for one in verdict.footprints
    ]


def parts_rows(verdict: Verdict) -> list[PartsRow]:
    """A row for each load whose parts are known."""
    return [_parts(one) for one in verdict.latency_parts]


def bound_lines(verdict: Verdict) -> list[str]:
    """Of each load, which part of the latency is the longer one, by candidate: 'chat, synchronous: decode (bf16 92 %)'."""
    lines = []
    for (workload, load), found in by(verdict.latency_parts, "workload", "load_level").items():
        said = []
        for (phase,), entries in by(found, "bound_by").items():
            shares = ", ".join(f"{one.candidate} {percent(one.share, 0)}" for one in entries)
            said.append(f"{phase} ({shares})")
        lines.append(f"{workload}, {load}: {', '.join(said)}")
    return lines


def _parts(one: LatencyParts) -> PartsRow:
    total = one.prefill_s + one.decode_s
    return PartsRow(
        one.workload,
        one.load_level,
        one.candidate,
        _seconds(one.prefill_s),
        _seconds(one.decode_s),
        f"{one.bound_by}, {percent(one.share, 0)}",
        f"{_seconds(total)} ({100 * (total / one.measured_s - 1):+.1f} %)".replace("-", "−"),
        _seconds(one.measured_s),
    )


def _seconds(value: float) -> str:
    return f"{significant(1000 * value)} ms" if value < 1 else f"{significant(value)} s"
