"""From the records of evaluations to pairs of runs, joined item by item. One task's tables are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from whichbits.schema.evaluate import EvaluateSummary, Sampled
from whichbits.schema.step import Record
from whichbits.verdict.estimates import Provenance
from whichbits.verdict.findings import EMULATED, ScoredTask
from whichbits.verdict.paired import Paired
from whichbits.verdict.pairing import SCORE_COLUMNS, PairingError, Reference, pair_scores, read_columns, scored

SCORED_AS = ("metric", "temperature", "top_p", "samples", "reducer")
"""What of a summary says how scores came about."""
AS_ONE = (*SCORED_AS, "concurrency", "engine")
"""What a candidate's run and the base's must share besides their items."""

Place = tuple[str, str, str]
"""Candidate, task and engine."""
FirstRuns = Mapping[Place, Record]
"""Of evaluate steps."""


def place_of(record: Record) -> Place:
    """Of an evaluation."""
    return record.labels.candidate, str(record.labels.task), str(record.labels.engine)


def first_runs(records: Sequence[Record]) -> FirstRuns:
    """The first run of each task. Raises PairingError where there are two."""
    first: dict[Place, Record] = {}
    for record in records:
        if record.labels.repeat == 0:
            key = place_of(record)
            if key in first:
                raise PairingError(f"two evaluate steps for {', '.join(key)}: {first[key].key} and {record.key}")
            first[key] = record
    return first


def _refuse_other_settings(left: Record, right: Record, what: str, same: Sequence[str]) -> None:
    for name in same:
        theirs, ours = (_shared(record, name) for record in (left, right))
        if theirs != ours:
            raise PairingError(f"{what}: {name} differs, {theirs!r} and {ours!r}")


def _what(left: Record, candidate: str, engine: str) -> str:
    """What is joined, in errors."""
    return f"{left.labels.task} ({engine}), {candidate} against {left.labels.candidate}"


def _pair(left: Record, right: Record, *, candidate: str, engine: str) -> ScoredTask:
    """Two runs of one task that need only be scored alike; `left` is the one that differences are taken from."""
    what = _what(left, candidate, engine)
    _refuse_other_settings(left, right, what, SCORED_AS)
    sides = (read_columns(record.items, SCORE_COLUMNS) for record in (left, right))
    pair = pair_scores(*sides, chance=left.found(EvaluateSummary).chance, what=what)
    return _scored_task(left, right, pair, candidate=candidate, engine=engine)


def _scored_task(left: Record, right: Record, pair: Paired, *, candidate: str, engine: str) -> ScoredTask:
    found = left.found(EvaluateSummary)
    return ScoredTask(
        candidate=candidate,
        task=str(left.labels.task),
        engine=engine,
        provenance=provenance_of(engine),
        available=_most(found),
        pair=pair,
        steps=(right.key, left.key),
        uninformative=found.uninformative,
        mode=found.mode,
    )


def _shared(record: Record, name: str) -> object:
    """What two runs of a task must have in common."""
    found = record.found(EvaluateSummary)
    if name == "engine":
        return record.provenance.engine
    return getattr(found.sampled, name, None) if name in Sampled.model_fields else getattr(found, name)


def _most(summary: EvaluateSummary) -> int | None:
    """How many different items the task can have; None: more than anyone asks for."""
    if "most" in summary.model_fields_set:
        return summary.most
    # Stores from before `most` was written: only generators made items, and none of them stated an end.
    if summary.kind == "generated":
        return None
    return summary.n if summary.available is None else summary.available


def against_base(first: FirstRuns, base: str, *, stopped_early: bool) -> Iterator[ScoredTask]:
    """Each candidate against the base, in the order of the records; one task's tables are in memory at a time."""
    found: dict[Place, ScoredTask] = {}
    for (candidate, task, engine), left in first.items():
        if candidate == base:
            others = {key: record for key, record in first.items() if key[1:] == (task, engine) and key[0] != base}
            found |= _with_reference(left, others, fewer=stopped_early)
    yield from (found[key] for key in first if key in found)


def _with_reference(left: Record, others: FirstRuns, *, fewer: bool) -> dict[Place, ScoredTask]:
    """The base's run of a task with those of candidates; with `fewer`, these may have stopped before it."""
    if not others:
        return {}
    table = read_columns(left.items, SCORE_COLUMNS)
    of_base = scored(table, f"{left.labels.task} ({left.labels.engine}), {left.labels.candidate}")
    reference = Reference(of_base, chance=left.found(EvaluateSummary).chance)
    found = {}
    for key, record in others.items():
        candidate, _, engine = key
        what = _what(left, candidate, engine)
        _refuse_other_settings(left, record, what, AS_ONE)
        run = scored(read_columns(record.items, SCORE_COLUMNS), what)
        pair = (reference.among(run) if fewer else reference).join(run, what=what)
        found[key] = _scored_task(left, record, pair, candidate=candidate, engine=engine)
    return found


def base_against_itself(records: Sequence[Record], first: FirstRuns, base: str) -> Iterator[ScoredTask]:
    """The base's second run against its first; it may run at another concurrency, which is part of the noise."""
    for record in records:
        _, task, engine = place_of(record)
        if record.labels.candidate == base and record.labels.repeat == 1 and (base, task, engine) in first:
            yield _pair(first[base, task, engine], record, candidate=base, engine=engine)


def emulated_against_served(first: FirstRuns) -> Iterator[ScoredTask]:
    """Each checkpoint in emulation against itself on each engine that serves it."""
    for key, record in first.items():
        for other, served in first.items():
            if key[2] == EMULATED and other[:2] == key[:2] and other[2] != EMULATED:
                yield _pair(served, record, candidate=key[0], engine=other[2])


def provenance_of(engine: str) -> Provenance:
    """Of what this engine answers."""
    return "emulated" if engine == EMULATED else "measured"
