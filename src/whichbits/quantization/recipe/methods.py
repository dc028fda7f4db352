"""Rounders and transforms by name: those of the package, those of installed packages, and those registered by a call.

An installed package adds one by an entry point of the group `whichbits.rounders` or `whichbits.transforms`, which names a
class. Steps of a study run in processes of their own, which see entry points. What is registered by a call is known in its own
process only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import ClassVar

from whichbits.core.errors import UserError


class Method:
    """A rounder or a transform, as a recipe sees it."""

    calibrated: ClassVar[bool] = True
    """Whether it needs tokens run through the model."""


@dataclass(frozen=True)
class Methods:
    """Methods of one kind by name; `ours` are module and class of those of the package, in the order in which they apply."""

    kind: str
    group: str
    ours: Mapping[str, tuple[str, str]]
    _registered: dict[str, type[Method]] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        """Names of all, those of the package first."""
        others = {*self._registered, *(point.name for point in entry_points(group=self.group))}
        return *self.ours, *sorted(others - set(self.ours))

    def register(self, name: str, method: type[Method]) -> None:
        """Add one in this process. Raises UserError where its name is taken."""
        if name in self.names():
            raise UserError(f"{self.kind}: there is one called {name!r} already", remedy="give it another name")
        self._registered[name] = method

    def get(self, name: str) -> Method:
        """The method of that name. Raises UserError where there is none, or what an entry point names is none."""
        found: object = self._registered.get(name)
        if name in self.ours:
            module, attribute = self.ours[name]
            found = getattr(import_module(module), attribute)
        elif found is None:
            points = entry_points(group=self.group, name=name)
            if not points:
                raise UserError(f"there is no {self.kind} {name!r}", remedy=f"choose from {', '.join(self.names())}")
            found = next(iter(points)).load()
        if not (isinstance(found, type) and issubclass(found, Method)):
            raise UserError(
                f"what the entry point {name!r} of {self.group} names is no {self.kind}",
                remedy="name a subclass of Rounder or Transform",
            )
        return found()


ROUNDER_GROUP = "whichbits.rounders"
TRANSFORM_GROUP = "whichbits.transforms"
_ROUNDING, _TRANSFORMS = "whichbits.quantization.rounding", "whichbits.quantization.transforms"

ROUNDERS = Methods(
    "rounder",
    ROUNDER_GROUP,
    {"rtn": (f"{_ROUNDING}.nearest", "Nearest"), "gptq": (f"{_ROUNDING}.gptq", "Gptq")},
)

TRANSFORMS = Methods(
    "transform",
    TRANSFORM_GROUP,
    {
        "smoothing": (f"{_TRANSFORMS}.smoothing", "Smoothing"),
        "balancing": (f"{_TRANSFORMS}.smoothing", "Balancing"),
        "awq": (f"{_TRANSFORMS}.awq", "Awq"),
    },
)
