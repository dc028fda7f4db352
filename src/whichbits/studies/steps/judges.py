"""Who judges the tasks of a study: the command line's judge, else a task's own, else the specification's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.studies.steps.shared.judge import is_judged, judged

if TYPE_CHECKING:
    from whichbits.accuracy.task import Task
    from whichbits.studies.specification.judge import JudgeChoice
    from whichbits.studies.specification.schema import TaskChoice
    from whichbits.studies.steps.study import Study


def judge_for(study: Study, choice: TaskChoice) -> JudgeChoice | None:
    """The judge of an entry's tasks, if they are judged."""
    return study.judge or choice.judge or study.specification.judge


class Judges:
    """A study's tasks, each with its judge."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._used: list[JudgeChoice] = []

    def of(self, index: int, choice: TaskChoice, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """The tasks of an entry with its judge; without one, those that may be left out are.

        Raises UserError, with its place, where a task that may not be has none, and for a judge of what is not judged.
        """
        judge = judge_for(self.study, choice)
        if judge is None and choice.skip_without_judge:
            return tuple(task for task in tasks if not is_judged(task))
        named, found = ("tasks", index, "name" if choice.lm_eval is None else "lm_eval"), []
        for task in tasks:
            with_judge = judge if is_judged(task) else choice.judge
            try:
                found.append(judged(task, with_judge))
            except UserError as error:
                if with_judge is not None and with_judge is self.study.judge:
                    raise
                of_study = with_judge is not None and with_judge is self.study.specification.judge
                raise self.study.source.placed(("judge",) if of_study else named, error) from error
            self._used += [] if with_judge is None else [with_judge]
        return tuple(found)

    def check_used(self) -> None:
        """Raise UserError where no task is judged by the command line's judge, or by the specification's."""
        study = self.study
        if study.judge is not None and not self._used:
            raise UserError("judge: no task of this study is judged", remedy="leave out --judge")
        own = study.specification.judge
        if study.judge is None and own is not None and not any(one is own for one in self._used):
            raise study.source.error(
                ("judge",),
                "no task of this study is judged by it",
                "leave it out, or add a task that is judged and names no judge, as arena_hard_v0.1",
            )
