"""A time limit for each item in lm-evaluation-harness's filters and scoring, which match patterns against a model's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from whichbits.accuracy.harness import HarnessTask
from whichbits.core.cpu_limit import CpuLimit, cpu_limit
from whichbits.core.errors import UserError

ITEM_S = 20.0
"""Seconds of CPU time that filtering or scoring one item may take."""

EACH_S = 0.05
"""Seconds that each item adds to what filtering all of a task's items together may take."""


def limit_scoring(harness_task: HarnessTask, *, seconds: float = ITEM_S) -> None:
    """Have a task object raise UserError, with the answer, where filtering or scoring an item takes more than `seconds`."""
    for ensemble in getattr(harness_task, "_filters", ()):
        ensemble.apply = _filtering(ensemble.apply, f"{harness_task.task_name}, filter {ensemble.name}", seconds)
    harness_task.process_results = _scoring(harness_task.process_results, harness_task.task_name, seconds)


def _filtering(apply: Callable[[Any], None], where: str, seconds: float) -> Callable[[Any], None]:
    """All items at once, as the harness does; one by one only to find which takes so long."""

    def limited(instances: Sequence[Any]) -> None:
        try:
            with cpu_limit(seconds + EACH_S * len(instances)):
                apply(instances)
        except CpuLimit:
            for instance in instances:
                try:
                    with cpu_limit(seconds):
                        apply([instance])
                except CpuLimit as error:
                    raise _error(where, instance.resps, error) from error
            raise UserError(
                f"task: {where}: filtering {len(instances)} answers took more than {seconds + EACH_S * len(instances):.0f} s",
                remedy="leave the task out, or choose another of its filters",
            ) from None

    return limited


def _scoring(process: Callable[[Any, Any], Any], where: str, seconds: float) -> Callable[[Any, Any], Any]:
    def limited(document: Any, answers: Any) -> Any:
        try:
            with cpu_limit(seconds):
                return process(document, answers)
        except CpuLimit as error:
            raise _error(where, answers, error) from error

    return limited


def _error(where: str, answers: Any, error: CpuLimit) -> UserError:
    return UserError(f"task: {where}: the answer {answers!r:.120} {error} to score", remedy="leave the task out of the study")
