"""The kinds of tasks by name: those of the package, those of installed packages, and those registered by a call.

An installed package adds a kind by an entry point of the group `whichbits.task_kinds` that names a subclass of `TaskKind`.
Steps run in processes of their own, which see entry points. A kind registered by a call is known in its own process only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from whichbits.accuracy.kind import TaskKind
from whichbits.core.errors import UserError

GROUP = "whichbits.task_kinds"

OURS: Mapping[str, tuple[str, str]] = {
    "generated": ("whichbits.accuracy.kinds.generated", "Generated"),
    "jsonl": ("whichbits.accuracy.kinds.jsonl", "Jsonl"),
    "lm-eval": ("whichbits.accuracy.kinds.lm_eval", "LmEval"),
    "human-eval": ("whichbits.accuracy.kinds.code", "HumanEval"),
    "mbpp": ("whichbits.accuracy.kinds.code", "Mbpp"),
    "ruler": ("whichbits.accuracy.kinds.ruler", "Ruler"),
    "arena-hard": ("whichbits.accuracy.kinds.arena_hard", "ArenaHard"),
    "gpqa": ("whichbits.accuracy.kinds.gpqa", "Gpqa"),
    "mathematics": ("whichbits.accuracy.kinds.mathematics", "Mathematics"),
}
"""Module and class of each kind of the package; a module is imported when its kind is asked for."""

_registered: dict[str, TaskKind] = {}


def register(kind: TaskKind) -> None:
    """Add a kind in this process. Raises UserError where its name is taken."""
    if kind.name in kind_names():
        raise UserError(f"kind: there is a kind of task {kind.name!r} already", remedy="give it another name")
    _registered[kind.name] = kind


def kind_names() -> tuple[str, ...]:
    """Names of all kinds, sorted."""
    return tuple(sorted({*OURS, *_registered, *(point.name for point in entry_points(group=GROUP))}))


def task_kind(name: str) -> TaskKind:
    """The kind of that name. Raises UserError where there is none, or what an entry point names is none."""
    if name in _registered:
        return _registered[name]
    return _load(name)


@cache
def _load(name: str) -> TaskKind:
    if name in OURS:
        module, attribute = OURS[name]
        found = getattr(import_module(module), attribute)
    else:
        points = entry_points(group=GROUP, name=name)
        if not points:
            raise UserError(f"kind: there is no kind of task {name!r}", remedy=f"choose from {', '.join(kind_names())}")
        found = next(iter(points)).load()
    if not (isinstance(found, type) and issubclass(found, TaskKind)):
        raise UserError(f"kind: what the entry point {name} names is no TaskKind", remedy=f"name a subclass in {GROUP}")
    made: TaskKind = found()
    return made
