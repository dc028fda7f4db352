"""Registries of plug-ins by name: those of the package, of installed packages (entry points), and registered by a call.

An installed package adds one by an entry point, which names a subclass of what all of the registry are, or an instance. Steps
of a study run in processes of their own, which see entry points. What is registered by a call is known in its own process only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from whichbits.core.errors import UserError

Made = TypeVar("Made")

Place = tuple[str, str]
"""Module and name of a class or an instance, which is imported when it is asked for."""


@dataclass(frozen=True)
class Registry(Generic[Made]):
    """What can be named in one place of a user's input.

    `named_in` is the field that holds a name, `what` the word for one of them; `base` is the class that all are of.
    `group` is that of the entry points. `ours` are those of the package, in the order in which they apply.
    """

    named_in: str
    what: str
    group: str
    base: Place
    ours: Mapping[str, Place]
    own_name: Callable[[Made], str] | None = None
    """What one calls itself, which is then the name of its entry point; None where they have no names of their own."""
    _registered: dict[str, Callable[[], Made]] = field(default_factory=dict)
    _loaded: dict[str, type[Made] | Made] = field(default_factory=dict)
    """What entry points named: to look one up reads the metadata of all installed packages."""

    def names(self) -> tuple[str, ...]:
        """Names of all, those of the package first."""
        others = {*self._registered, *(point.name for point in entry_points(group=self.group))}
        return *self.ours, *sorted(others - set(self.ours))

    def __contains__(self, name: str) -> bool:
        """Whether there is one of that name."""
        known = name in self.ours or name in self._registered or name in self._loaded
        return known or bool(entry_points(group=self.group, name=name))

    def register(self, name: str, make: Callable[[], Made]) -> None:
        """Add one in this process: a class, or what else returns an instance. Raises UserError where its name is taken."""
        if name in self:
            raise UserError(f"{self.named_in}: there is a {self.what} {name!r} already", remedy="give it another name")
        self._registered[name] = make

    def get(self, name: str) -> Made:
        """The instance of that name, a new one where it names a class.

        Raises UserError where there is none, where several packages bring one, or what an entry point names is none.
        """
        if name in self.ours:
            module, attribute = self.ours[name]
            own: type[Made] | Made = getattr(import_module(module), attribute)
            return _made(own)
        if name in self._registered:
            return self._registered[name]()
        if name not in self._loaded:
            self._loaded[name] = self._checked(self._point(name))
        return _made(self._loaded[name])

    def packages(self, name: str) -> dict[str, str]:
        """Name and version of the package whose entry point brings it; none of what is ours or registered by a call.

        Raises UserError as `get`.
        """
        if name in self.ours or name in self._registered:
            return {}
        package = self._point(name).dist
        return {} if package is None else {package.name: package.version}

    def _point(self, name: str) -> EntryPoint:
        points = tuple(entry_points(group=self.group, name=name))
        if not points:
            problem = f"{self.named_in}: there is no {self.what} {name!r}"
            raise UserError(problem, remedy=f"choose from {', '.join(self.names())}")
        if len(points) > 1:
            raise UserError(
                f"{self.named_in}: several entry points of {self.group} are called {name!r}: "
                f"{', '.join(sorted(point.value for point in points))}",
                remedy="uninstall the packages of all but one",
            )
        return points[0]

    def _checked(self, point: EntryPoint) -> type[Made] | Made:
        module, base = self.base
        found: type[Made] | Made = point.load()
        try:
            made = _made(found)
        except TypeError as error:  # an abstract class, one that is made of arguments, or a mistake in its constructor
            raise UserError(
                f"{self.named_in}: what the entry point {point.name!r} of {self.group} names cannot be made: {error}",
                remedy="name a class that has all methods and is made without arguments, or an instance",
            ) from error
        if not isinstance(made, getattr(import_module(module), base)):
            raise UserError(
                f"{self.named_in}: what the entry point {point.name!r} of {self.group} names is no {base}",
                remedy=f"name a subclass of {module}.{base}, or an instance",
            )
        own = point.name if self.own_name is None else self.own_name(made)
        if own != point.name:
            raise UserError(
                f"{self.named_in}: the entry point {point.name!r} of {self.group} names the {self.what} {own!r}",
                remedy="give the entry point that name",
            )
        return found


def _made(named: type[Made] | Made) -> Made:
    return named() if isinstance(named, type) else named
