"""The tasks of a study in its thinking modes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.accuracy.task import Task
    from whichbits.schema.thinking import ThinkingMode
    from whichbits.studies.specification.modes import ModeChoice
    from whichbits.studies.specification.schema import TaskChoice
    from whichbits.studies.steps.study import Study

PROMPT_TOKENS = 1024
"""Room for a prompt that is planned with the longest reply where a mode states that."""


class InModes:
    """A study's tasks, each in the modes that it is to be asked in."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.used = False
        """Whether any task was asked in one of the study's modes."""
        self._switches: dict[str, ThinkingMode] = {}
        """The mode of each name."""

    @cached_property
    def _tokenizer(self) -> Any:
        from whichbits.models.tokenization import load_tokenizer

        return load_tokenizer(self.study.model.path, trust_remote_code=self.study.specification.trust_remote_code)

    @cached_property
    def _of_the_study(self) -> list[tuple[ThinkingMode, int | None]]:
        return self._chosen(self.study.specification.modes)

    def _chosen(self, asked: Sequence[ModeChoice]) -> list[tuple[ThinkingMode, int | None]]:
        """Modes with the longest reply in each. Raises UserError where the model has one not."""
        from whichbits.accuracy.thinking.choice import chosen_modes

        found = chosen_modes([choice.mode for choice in asked], self._tokenizer)
        stated = {choice.name: choice.max_tokens for choice in asked}
        every = next((choice.max_tokens for choice in asked if choice.name == "all"), None)
        return [(mode, stated.get(mode.name, every)) for mode in found]

    def of(self, index: int, choice: TaskChoice, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """The tasks of an entry in its modes, or in the study's; a task that cannot be asked in one stays as it is.

        Raises UserError, with its place, for modes that the model or, where the entry states them, a task does not have.
        """
        from whichbits.accuracy.kinds.registry import task_kind

        study = self.study
        if choice.modes is None and not study.specification.modes:
            return tuple(tasks)
        try:
            modes = self._of_the_study if choice.modes is None else self._chosen(choice.modes) if choice.modes else []
        except UserError as error:
            raise study.source.placed(("modes",) if choice.modes is None else ("tasks", index, "modes"), error) from error
        for mode, _ in modes:
            if self._switches.setdefault(mode.name, mode) != mode:
                raise study.source.error(
                    ("tasks", index, "modes"),
                    f"mode {mode.name!r} has another switch than the mode of that name elsewhere in the study",
                    "give it another name",
                )
        found: list[Task] = []
        for task in tasks:
            thinks = task_kind(task.kind).may_think(task)
            if choice.modes and not thinks:
                raise study.source.error(
                    ("tasks", index, "modes"),
                    f"{task.name} is not asked in the chat template, or its reply is not written by the model alone",
                    "leave modes out of this task, or ask it in the chat template (chat_template: true, humaneval_chat)",
                )
            self.used |= thinks and choice.modes is None
            found += [task.in_mode(mode, max_tokens=longest) for mode, longest in modes] if thinks and modes else [task]
        return tuple(found)

    def check_used(self) -> None:
        """Raise UserError where the study has modes that no task is asked in."""
        if self.study.specification.modes and self.study.specification.tasks and not self.used:
            raise self.study.source.error(
                ("modes",),
                "no task of this study is asked in the chat template and answered in text",
                "choose tasks that are, as humaneval_chat and mbpp_chat, or leave modes out",
            )
