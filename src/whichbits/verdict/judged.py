"""What judges say of answers: against a task's baseline, from evaluations, and against the base, from `judge` steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from whichbits.schema.evaluate import EvaluateSummary, Judged, Rate
from whichbits.schema.judge import JudgeSummary
from whichbits.schema.step import Record
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.judged_finding import JudgedFinding
from whichbits.verdict.scored_tasks import FirstRuns, provenance_of

LEVEL = 0.95
"""Of the intervals that the judged steps state."""


def judged_findings(first: FirstRuns, compared: Sequence[Record]) -> Iterator[JudgedFinding]:
    """Of each first run of a judged task, the base's among them, in the study's order, and then of each comparison."""
    for record in first.values():
        evaluated = record.found(EvaluateSummary)
        if evaluated.judged is not None:
            yield _finding(record, "baseline", evaluated.n, evaluated.score, evaluated.judged)
    for record in compared:
        found = record.found(JudgeSummary)
        yield _finding(record, "base", found.n, found.score, found.judged)


def _finding(record: Record, against: Literal["baseline", "base"], items: int, score: float, judged: Judged) -> JudgedFinding:
    engine = str(record.labels.engine)
    return JudgedFinding(
        candidate=record.labels.candidate,
        task=str(record.labels.task),
        mode=record.labels.mode,
        engine=engine,
        provenance=provenance_of(engine),
        against=against,
        items=items,
        score=score,
        win_rate=_estimate(judged.win_rate),
        win_rate_at_equal_style=_estimate(judged.win_rate_at_equal_style),
        judge=judged.judge,
        rounds=judged.rounds,
        swayed_by_order=judged.swayed_by_order,
        changed_when_repeated=judged.changed_when_repeated,
        without_label=judged.without_label,
        identical=judged.identical,
        requests=judged.requests,
        dollars=judged.dollars,
        steps=(record.key,),
    )


def _estimate(rate: Rate | None) -> Estimate | None:
    return None if rate is None else Estimate(value=rate.rate, low=rate.low, high=rate.high, level=LEVEL)
