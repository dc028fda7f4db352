"""What speeds of another tool are read as, and the class of what reads them.

A tool's own averages are not taken over. Its requests are, each with its moments, so that every metric is ours by
docs/serving.md, whatever the tool calls by that name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from whichbits.core.errors import UserError
from whichbits.core.foreign import Setting, count, damaged, number
from whichbits.core.text import parse_json, read_bytes
from whichbits.schema.serve import Arrivals
from whichbits.serving.observation import Observation
from whichbits.serving.traffic.arrivals import Even, Random, Recorded
from whichbits.serving.workload import LoadLevel

CLOCK_S = 1e-6
"""Moments in seconds since 1970 are rounded to less than this."""
DUE = frozenset({"due_ttft_s", "due_latency_s"})
"""Metrics that need the moment at which a request was due."""


@dataclass(frozen=True)
class ImportedLoad:
    """One load level as a tool measured it once."""

    level: LoadLevel
    seen: tuple[Observation, ...]
    """All requests, in the order of their starts; seconds since the first."""
    began: float
    """When, to put repeats in order: seconds by the tool's clock."""
    until_s: float | None = None
    """From when on the load was no longer whole, because requests were cut off; None: until the end."""


@dataclass(frozen=True)
class ImportedRun:
    """What a tool wrote of one model's server."""

    tool: str
    path: Path
    model: str
    settings: tuple[Setting, ...]
    """What two runs must share; the hardware and the engine's version where they are stated."""
    loads: tuple[ImportedLoad, ...]
    lacks: frozenset[str] = frozenset()
    """Keys of metrics that cannot be computed of what the tool writes."""
    unknown: tuple[str, ...] = ()
    """What the tool does not write, so that it could not be compared."""
    remarks: tuple[str, ...] = ()
    """What is to be said of the measurement."""


class SpeedImporter(ABC):
    """Reads the results of one tool. Raises UserError for results that are damaged or lack single requests."""

    name: ClassVar[str]
    reads: ClassVar[str]
    """The files that it reads, for people."""

    @abstractmethod
    def recognizes(self, path: Path) -> bool:
        """Whether a file or folder is, or holds, results of the tool; it is there."""

    @abstractmethod
    def read(self, path: Path) -> ImportedRun:
        """The results in a file or folder that it recognizes, with each load level as often as it was measured."""


def observed(
    *,
    start_s: float,
    first_token_s: float | None,
    last_token_s: float | None,
    end_s: float,
    prompt_tokens: float,
    output_tokens: float,
    chunks: float,
    gaps_s: tuple[float, ...] = (),
    due_s: float | None = None,
    error: str | None = None,
) -> Observation:
    """A request by the tool's clock. Which lengths were asked for no tool writes: they count as those that came.

    One that was answered without a token has failed. Raises ValueError for moments that are no numbers or do not follow one
    another, gaps below 0, and lengths that are no counts.
    """
    moments = {"start": start_s, "first token": first_token_s, "last token": last_token_s, "end": end_s}
    passed = [(name, number(moment, f"moment of {name}")) for name, moment in moments.items() if moment is not None]
    for (before, earlier), (after, later) in pairwise(passed):
        if later < earlier - CLOCK_S:
            raise ValueError(f"{after} is {earlier - later:g} s before {before}")
    if due_s is not None:
        number(abs(due_s), "moment when due")
    for gap in gaps_s:
        number(gap, "gap between chunks")
    prompt_tokens, output_tokens = count(prompt_tokens, "prompt tokens"), count(output_tokens, "output tokens")
    chunks = count(chunks, "chunks")
    if error is None and not prompt_tokens:
        raise ValueError("prompt tokens are 0")
    if error is None and not output_tokens:
        error = "answered without a token"
    return Observation(
        request=0,
        warmup=False,
        target_s=start_s if due_s is None else due_s,
        start_s=start_s,
        first_token_s=first_token_s,
        last_token_s=last_token_s,
        end_s=end_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        chunks=chunks,
        gaps_s=gaps_s,
        error=error,
        asked_prompt_tokens=prompt_tokens,
        asked_output_tokens=output_tokens,
    )


def in_flight(
    seen: Sequence[Observation], streams: int, *, began: float, path: Path, cut: Sequence[float] = ()
) -> ImportedLoad:
    """Requests of which `streams` were kept in flight; as in our own loads the first so many are the warm-up.

    Each of the others was due when one ended: the first of them at the first end, and so on. `cut` are the starts of requests
    that were not let end. Raises UserError where all were sent at once, so that there was no steady load.
    """
    if count(streams, "requests in flight") < 1:
        raise ValueError("requests in flight are 0")
    if streams >= len(seen):
        raise UserError(
            f"from: {path} has {len(seen)} requests with up to {streams} in flight, so that the load was never steady",
            remedy="measure at least five times as many requests as are in flight, or at a request rate",
        )
    ends = sorted(one.end_s for one in seen)
    places = {start: place for place, start in enumerate(sorted([*(one.start_s for one in seen), *cut]))}
    due = [
        replace(
            one,
            target_s=ends[min(place - streams, len(ends) - 1)] if (place := places[one.start_s]) >= streams else one.start_s,
        )
        for one in seen
    ]
    name = "synchronous" if streams == 1 else f"concurrency {streams}"
    level = LoadLevel(name, streams, None, warmup=streams, requests=len(seen) - streams)
    return _load(due, level, began, cut)


def at_rate(
    seen: Sequence[Observation], rate: float, *, began: float, burstiness: float | None = None, cut: Sequence[float] = ()
) -> ImportedLoad:
    """Arrivals at a rate; the first tenth is the warm-up. `burstiness` None is even gaps, 1 is Poisson."""
    if not number(rate, "rate") or burstiness == 0:
        raise ValueError("rate or burstiness is 0")
    if burstiness is not None:
        number(burstiness, "burstiness")
    warmup = -(-len(seen) // 11)
    arrivals = Even(rate) if burstiness is None else Random(rate, burstiness)
    suffix = ", constant" if burstiness is None else "" if burstiness == 1 else f", burstiness {burstiness:g}"
    return _load(seen, LoadLevel(f"rate {rate:g}{suffix}", None, arrivals, warmup, len(seen) - warmup), began, cut)


def as_recorded(
    seen: Sequence[Observation], name: str, *, kind: Arrivals | None, began: float, cut: Sequence[float] = ()
) -> ImportedLoad:
    """Arrivals as they were, of a ramp or a log, or of another `kind` (None); the first tenth is the warm-up."""
    starts = sorted(one.start_s for one in seen)
    if starts[0] == starts[-1]:
        raise ValueError("all requests start at one moment")
    warmup = -(-len(seen) // 11)
    return _load(seen, LoadLevel(name, None, Recorded(tuple(starts), kind), warmup, len(seen) - warmup), began, cut)


def lacks_due(loads: Sequence[ImportedLoad], told: bool) -> frozenset[str]:
    """The metrics that cannot be computed where a tool does not tell when requests that arrive at a rate were due."""
    return frozenset() if told or all(load.level.concurrency is not None for load in loads) else DUE


def _load(seen: Sequence[Observation], level: LoadLevel, began: float, cut: Sequence[float]) -> ImportedLoad:
    zero = min(one.start_s for one in seen)
    ordered = sorted(seen, key=lambda one: one.start_s)
    moved = tuple(
        replace(_moved(one, zero), request=number, warmup=number < level.warmup) for number, one in enumerate(ordered)
    )
    return ImportedLoad(level, moved, began, min(cut) - zero if cut else None)


def _moved(one: Observation, zero: float) -> Observation:
    """The request with its moments as seconds since `zero`."""
    return replace(
        one,
        target_s=one.target_s - zero,
        start_s=one.start_s - zero,
        first_token_s=None if one.first_token_s is None else one.first_token_s - zero,
        last_token_s=None if one.last_token_s is None else one.last_token_s - zero,
        end_s=one.end_s - zero,
    )


def documents(path: Path, tool: str) -> list[Mapping[str, Any]]:
    """The JSON objects of a file: one, or one a line where results were appended. Raises UserError for what is none."""
    content, where = read_bytes(path, str(path)), str(path)
    form = f"what {tool} wrote"
    try:
        found = [parse_json(content, where, form=form)]
    except UserError:
        lines = [line for line in content.split(b"\n") if line.strip()]
        found = [parse_json(line, where, form=form) for line in lines]
    if not all(isinstance(one, Mapping) for one in found):
        raise damaged(where, f"is not {form}")
    return found


def head(path: Path, size: int = 4096) -> bytes:
    """How a file begins."""
    with path.open("rb") as opened:
        return opened.read(size)


def json_files(path: Path, *names: str) -> list[Path]:
    """The file, or those in a folder and below it that have one of these names, patterns of a shell."""
    if not path.is_dir():
        return [path] if any(path.match(name) for name in names) else []
    return sorted({file for name in names for file in path.rglob(name)})


def one_of(values: Sequence[str], path: Path, what: str) -> str:
    """What all results of a folder share. Raises UserError where they are of several."""
    found = sorted(set(values))
    if len(found) > 1:
        raise UserError(
            f"from: {path} holds results of several {what}: {', '.join(found[:3])}", remedy="give a folder for each model"
        )
    return found[0]
