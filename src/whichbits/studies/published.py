"""What is published of a study's base model in its candidates' formats, next to what the study found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from whichbits.published.figures import ERRATA, PublishedFigure
from whichbits.published.recovery import ABOVE_CHANCE, BASE_FORMATS, ratio
from whichbits.published.tables import figures, same_model
from whichbits.reporting.context import PublishedComparison
from whichbits.schema.thinking import without_mode
from whichbits.verdict.verdict import TaskRecovery, Verdict

TABLES = ("table-2", "table-3", "table-4-14", "table-10-11", "openpangu", "similarity")
SIMILARITY = ("rouge1", "rougeL", "bertscore", "sts")
SUITES = ("leaderboard-v1", "leaderboard-v2", "reasoning")
CHAT = "_chat"
"""How the names of tasks end that ask in the chat template what others ask without."""


def published_next_to(verdict: Verdict) -> tuple[PublishedComparison, ...]:
    """The published figures of the verdict's model, candidate by candidate: of suites, of its tasks, of texts.

    Models are known by name, candidates by their format: recipes and prompts may differ.
    """
    known = [f for table in TABLES for f in figures(table) if same_model(verdict.model, f.model)]
    if not known:
        return ()
    found: list[PublishedComparison] = []
    bases = [f for f in known if f.format in BASE_FORMATS]
    for decision in verdict.formats:
        if decision.candidate != verdict.base:
            of_format = _OfFormat(decision.candidate, [f for f in known if f.format == decision.format], verdict)
            found += [*of_format.suites(), *of_format.tasks(bases), *of_format.texts()]
    return tuple(found)


@dataclass(frozen=True)
class _OfFormat:
    """The published figures of one format, next to one candidate."""

    candidate: str
    figures: list[PublishedFigure]
    verdict: Verdict

    def suites(self) -> Iterator[PublishedComparison]:
        """Recoveries of whole suites, next to that of all of the study's tasks."""
        own = next((decision.suite for decision in self.verdict.formats if decision.candidate == self.candidate), None)
        for figure in self.figures:
            if figure.quantity == "recovery" and figure.on in SUITES:
                yield PublishedComparison(
                    candidate=self.candidate,
                    on=figure.on,
                    quantity="recovery",
                    own=own.recovery if own else None,
                    own_tasks=own.tasks if own else (),
                    published=figure.value,
                    source=figure.source,
                    erratum=_erratum(figure),
                )

    def tasks(self, bases: list[PublishedFigure]) -> Iterator[PublishedComparison]:
        """Recoveries of the study's tasks: printed ones, and those that printed scores give."""
        printed = {f.on: f for f in self.figures if f.quantity == "recovery"}
        scores, base = ({f.on: f for f in side if f.quantity == "score"} for side in (self.figures, bases))
        for task in self._own_tasks():
            on = without_mode(task.task, task.mode).removesuffix(CHAT)
            pair = ([scores[on]], [base[on]]) if on in scores and on in base else None
            figure = printed.get(on) or scores.get(on)
            if figure is None or (pair is None and on not in printed):
                continue
            raw = task.chance > 0 and not on.startswith(ABOVE_CHANCE)
            yield PublishedComparison(
                candidate=self.candidate,
                on=task.task,
                quantity="recovery",
                own=task.recovery,
                published=printed[on].value if on in printed or pair is None else round(ratio(*pair).value, 2),
                above_chance=round(ratio(*pair, chance=100 * task.chance).value, 2) if raw and pair is not None else None,
                source=figure.source,
                erratum=_erratum(figure),
            )

    def _own_tasks(self) -> Iterator[TaskRecovery]:
        """The candidate's tasks in the order of the study; served results are kept before emulated ones."""
        found: dict[str, TaskRecovery] = {}
        for task in self.verdict.tasks:
            if task.candidate == self.candidate:
                kept = found.get(task.task)
                found[task.task] = task if kept is None or kept.provenance == "emulated" else kept
        yield from found.values()

    def texts(self) -> Iterator[PublishedComparison]:
        """Similarity of texts, where the study compared texts."""
        own = {f.measure: f.estimate for f in self.verdict.similarity if f.candidate == self.candidate}
        for figure in self.figures:
            if figure.quantity in SIMILARITY and figure.quantity in own:
                yield PublishedComparison(
                    candidate=self.candidate,
                    on=figure.on,
                    quantity=figure.quantity,
                    own=own[figure.quantity],
                    published=figure.value,
                    source=figure.source,
                    erratum=_erratum(figure),
                )


def _erratum(figure: PublishedFigure) -> str | None:
    return None if figure.erratum is None else ERRATA[figure.erratum]
