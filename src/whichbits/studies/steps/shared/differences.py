"""Refusals of two runs that did not do the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.core.foreign import Setting

SHOWN = 60
"""Characters of a value that an error shows."""


@dataclass(frozen=True)
class Places:
    """Where the results of both runs are, for errors."""

    base: Path
    candidate: Path

    def refuse(self, field: str, ours: str, theirs: str, remedy: str) -> None:
        """Raise UserError where a value of the base's run is not that of the candidate's."""
        if ours != theirs:
            left, right = _excerpts(ours, theirs)
            raise UserError(f"from: {field} differs: {left} in {self.base}, {right} in {self.candidate}", remedy=remedy)

    def refuse_settings(self, prefix: str, ours: Sequence[Setting], theirs: Sequence[Setting]) -> None:
        """The same of settings of one tool; what one run states and the other does not is a difference."""
        left, right = ({setting.field: setting for setting in side} for side in (ours, theirs))
        for field in dict.fromkeys([*left, *right]):
            one, other = (side[field].value if field in side else "not stated" for side in (left, right))
            self.refuse(f"{prefix}{field}", one, other, (left.get(field) or right[field]).remedy)


def _excerpts(left: str, right: str) -> tuple[str, str]:
    """Two different texts, of long ones what is around the first character in which they differ."""
    if max(len(left), len(right)) <= SHOWN:
        return left, right
    place = next(i for i, (one, other) in enumerate(zip_longest(left, right)) if one != other)
    start = max(0, place - SHOWN // 2)
    return _excerpt(left, start), _excerpt(right, start)


def _excerpt(text: str, start: int) -> str:
    end = start + SHOWN
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
