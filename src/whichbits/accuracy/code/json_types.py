"""Types that JSON has lost: tuples, sets and complex numbers in the inputs of a problem, restored after its own assertions.

JSON writes tuples and sets as lists. The problem's assertions call the function with literals, which say at each place of each
argument what stands there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from whichbits.accuracy.code.python import tree_of


@dataclass
class Shape:
    """What stands at one place of an argument, over all assertions."""

    container: type | None = None
    """`list`, `tuple` or `set` where one of them stood; the first that did."""
    number: type | None = None
    """`complex` where one stood."""
    element: Shape | None = None
    """Of all elements of the container, or values of the dictionary."""

    def see(self, value: object) -> None:
        """Take in a literal."""
        if isinstance(value, complex):
            self.number = complex
        if isinstance(value, list | tuple | set | frozenset | dict):
            self.container = self.container or type(value)
            self.element = self.element or Shape()
            for one in value.values() if isinstance(value, dict) else value:
                self.element.see(one)

    def restore(self, value: Any) -> Any:
        """A value of JSON as the literals have it."""
        inner = self.element or Shape()
        if isinstance(value, dict):
            return {name: inner.restore(one) for name, one in value.items()}
        if isinstance(value, list):
            made = [inner.restore(one) for one in value]
            return made if self.container in (None, list, dict) else self.container(made)
        return complex(value) if self.number is complex and isinstance(value, str | int | float) else value


def restored(inputs: Sequence[Sequence[Any]], assertions: str, entry_point: str) -> list[list[Any]]:
    """Inputs, each a list of arguments, with the types of the literals with which `assertions` call `entry_point`."""
    shapes: dict[int, Shape] = {}
    for arguments in literal_calls(assertions, entry_point):
        for place, value in enumerate(arguments):
            shapes.setdefault(place, Shape()).see(value)
    return [[shapes.get(place, Shape()).restore(value) for place, value in enumerate(one)] for one in inputs]


def literal_calls(assertions: str, entry_point: str) -> Iterator[list[Any]]:
    """Arguments of each call of the function that has literals alone."""
    for call in calls(tree_of(assertions), entry_point):
        try:
            yield [ast.literal_eval(argument) for argument in call.args]
        except ValueError:
            continue


def calls(tree: ast.AST, entry_point: str) -> Iterator[ast.Call]:
    """Calls of the function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry_point:
            yield node


def compared_as_sets(assertions: str, entry_point: str) -> bool:
    """Whether some assertion compares `set` of what the function returns: then its order is free."""
    tests = [node for node in tree_of(assertions).body if isinstance(node, ast.Assert)]
    return any(_set_of_call(one.test, entry_point) for one in tests)


def _set_of_call(test: ast.expr, entry_point: str) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "set"
        and any(True for argument in node.args for _ in calls(argument, entry_point))
        for node in ast.walk(test)
    )
