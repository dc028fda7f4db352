"""Thinking modes, as a specification states them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt, field_validator

from whichbits.schema.frozen import Written
from whichbits.schema.thinking import TemplateArguments, ThinkingMode
from whichbits.studies.specification.names import Name, mistake

SWITCHES = {True: "on", False: "off"}
"""Names that YAML reads as truth values."""


class ModeChoice(Written):
    """A mode of the model's family by its name, or one whose switch is stated."""

    name: Name
    suffix: str = ""
    """Appended to the user's message."""
    system: str | None = None
    """A system prompt."""
    arguments: TemplateArguments = Field(default_factory=dict)
    """Of the chat template."""
    max_tokens: PositiveInt | None = None
    """Longest reply in this mode; default: the task's own."""

    @field_validator("name", mode="before")
    @classmethod
    def _text(cls, name: Any) -> Any:
        return SWITCHES[name] if isinstance(name, bool) else name

    @field_validator("arguments")
    @classmethod
    def _of_the_template(cls, arguments: TemplateArguments) -> TemplateArguments:
        wrong = [name for name in arguments if not name.isidentifier() or name == "chat_template"]
        if wrong:
            raise mistake(f"{wrong[0]!r} is no argument of a chat template", "name what the template reads, as enable_thinking")
        return arguments

    @property
    def mode(self) -> ThinkingMode:
        """The mode as prompts are made by it."""
        return ThinkingMode(name=self.name, suffix=self.suffix, system=self.system, arguments=self.arguments)


def mode_entries(stated: Any) -> Any:
    """A list of modes in which a bare name is written out; anything else as it is."""
    if not isinstance(stated, list | tuple):
        return stated
    return [{"name": entry} if isinstance(entry, str | bool) else entry for entry in stated]


Modes = tuple[ModeChoice, ...]
