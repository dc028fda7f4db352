"""Where a figure comes from: the number of each step in the list at the end, as a link."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from markupsafe import Markup

from whichbits.reporting.context import StepEntry

KEY_SHOWN = 12
"""Hexadecimal digits of a key that are shown and that name its anchor."""


def anchor(key: str) -> str:
    """Name of the place of a step in the page."""
    return f"step-{key[:KEY_SHOWN]}"


@dataclass(frozen=True)
class Citations:
    """The steps of a study, numbered from 1 in the order of the list."""

    steps: Sequence[StepEntry]

    def number(self, key: str) -> int | None:
        """Number of the step with this key; None where the list does not hold it."""
        return self._numbers.get(key)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {step.key: i for i, step in enumerate(self.steps, 1)}

    def link(self, keys: Iterable[str]) -> str | None:
        """Address within the page of the first listed one of these steps, for a mark in a chart."""
        return next((f"#{anchor(key)}" for key in keys if self.number(key) is not None), None)

    def cite(self, keys: Iterable[str]) -> Markup:
        """Links to these steps in the form '3, 12–19'; a key that the list does not hold is printed as it is."""
        keys = tuple(dict.fromkeys(keys))
        numbers = sorted(n for n in map(self.number, keys) if n is not None)
        runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
        parts = [self._run(run) for run in runs]
        parts += [Markup("<code>{}</code>").format(key[:KEY_SHOWN]) for key in keys if self.number(key) is None]
        return Markup('<span class="cites">{}</span>').format(Markup(", ").join(parts)) if parts else Markup("")

    def _run(self, run: Sequence[int]) -> Markup:
        if len(run) <= 2:
            return Markup(", ").join(self._one(n) for n in run)
        return Markup("{}–{}").format(self._one(run[0]), self._one(run[-1]))

    def _one(self, number: int) -> Markup:
        step = self.steps[number - 1]
        title = " · ".join([step.kind, *step.labels.values()])
        return Markup('<a href="#{}" title="{}">{}</a>').format(anchor(step.key), title, number)
