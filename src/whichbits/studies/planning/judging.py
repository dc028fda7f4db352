"""What the judging of a study takes, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.schema.step import Step
from whichbits.studies.steps.registry import KINDS


def judging_lines(steps: Sequence[Step]) -> list[str]:
    """What each of these steps asks of a judge, and at what price; last what all of them do, where they are several."""
    found = [(step, work) for step in steps if (asks := KINDS[step.kind].judging) is not None and (work := asks(step))]
    lines = [f"{_compared(step)}, {step.labels.task}: {work.text}." for step, work in found]
    if len(found) > 1:
        dollars = [work.dollars for _, work in found]
        price = "" if None in dollars else f", at most ${sum(one for one in dollars if one is not None):,.2f}"
        lines.append(f"Together {sum(work.requests for _, work in found):,} judgments{price}.")
    return lines


def _compared(step: Step) -> str:
    """Whose answers are judged: a candidate's, or a candidate's against the base's."""
    return f"{step.labels.candidate} against the base" if step.kind == "judge" else step.labels.candidate
