"""The tasks and suites that whichbits ships, by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError


@cache
def _registry() -> tuple[dict[str, Task], dict[str, tuple[str, ...]]]:
    tasks: dict[str, Task] = {}
    suites: dict[str, tuple[str, ...]] = {}
    folder = files("whichbits.accuracy") / "suites"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".yaml"):
            continue
        content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        tasks |= {name: Task(name=name, **fields) for name, fields in content.get("tasks", {}).items()}
        suites |= {name: tuple(members) for name, members in content.get("suites", {}).items()}
    return tasks, suites


def task_names() -> tuple[str, ...]:
    """Names of the shipped tasks, sorted."""
    return tuple(sorted(_registry()[0]))


def suite_names() -> tuple[str, ...]:
    """Names of the shipped suites, sorted."""
    return tuple(sorted(_registry()[1]))


def task(name: str) -> Task:
    """The shipped task of that name."""
    tasks, suites = _registry()
    if name in tasks:
        return tasks[name]
    if name in suites:
        raise UserError(f"task: {name!r} is a suite, not a task", remedy=f"its tasks are {', '.join(suites[name])}")
    near = difflib.get_close_matches(name, [*tasks, *suites], n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(map(repr, near))}?" if near else f"choose from {', '.join(sorted(tasks))}."
    raise UserError(f"task: there is no task {name!r}", remedy=f"{remedy} A task of your own is given by its fields")


def expand(names: Iterable[str]) -> tuple[Task, ...]:
    """The tasks that these names of tasks and suites stand for, each once, in order."""
    suites = _registry()[1]
    leaves = [leaf for name in names for leaf in suites.get(name, (name,))]
    return tuple(task(leaf) for leaf in dict.fromkeys(leaves))
