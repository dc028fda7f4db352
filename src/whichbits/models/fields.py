"""Values of a config.json, each checked by name, with its library's default where it is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whichbits.core.errors import UserError

MOST = 10**9
"""Largest size that is read: no model comes near, and sums of products of such sizes stay finite."""
NAMED = 120
"""Characters of a wrong value that a message shows."""


@dataclass(frozen=True)
class Fields:
    """A configuration under the name that messages give it, and the defaults of its class.

    A value that is there counts, also where it is null; the default stands for one that is left out.
    """

    given: Mapping[str, Any]
    identifier: str
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether the configuration or its class has a value other than null."""
        return self._value((name,)) is not None

    def whole(self, *names: str, least: int = 1, default: int | None = None) -> int:
        """The whole number under the first of `names` that is there; `default` where none is, or it is null.

        Raises UserError where it is something else, lies outside `least` to MOST, or is missing without a default.
        """
        value = self._value(names)
        if value is None:
            if default is None:
                raise UserError(
                    f"model: {self.identifier} lacks {names[0]!r}, which has no default",
                    remedy="add it to the configuration",
                )
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
            kind = "a positive whole number" if least == 1 else f"a whole number from {least} on"
            raise self.wrong(self._found(names), f"is not {kind} up to 10^9")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """The truth value under `name`. Raises UserError where it is something else."""
        value = self._value((name,))
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "is not true or false")
        return value

    def listed(self, name: str) -> Sequence[int] | None:
        """The whole numbers listed under `name`, None where it is left out. Raises UserError for anything else."""
        value = self._value((name,))
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in value):
            raise self.wrong(name, "is not a list of whole numbers")
        return value

    def wrong(self, name: str, why: str) -> UserError:
        """The error that says why the value of a field cannot be."""
        shown = repr(self._value((name,)))
        shown = shown if len(shown) <= NAMED else shown[:NAMED] + "…"
        return UserError(f"model: {self.identifier}: {name}: {shown} {why}", remedy="fix it in the configuration")

    def refused(self, name: str, what: str) -> UserError:
        """The error that says what the configuration has that is not modelled."""
        return UserError(
            f"model: {self.identifier} has {what} ({name}), which the predictor does not model",
            remedy="measure it (whichbits bench); docs/predict.md lists what is modelled",
        )

    def _found(self, names: Sequence[str]) -> str:
        return next((n for n in names if n in self.given), next((n for n in names if n in self.defaults), names[0]))

    def _value(self, names: Sequence[str]) -> Any:
        name = self._found(names)
        return self.given[name] if name in self.given else self.defaults.get(name)
