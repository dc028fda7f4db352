"""A thinking mode, and what replies in it are like."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from whichbits.schema.frozen import Frozen, Stored
from whichbits.schema.metrics import Measured

TemplateArguments = Mapping[str, bool | int | float | str]
"""Arguments of a chat template by name."""


class ThinkingMode(Frozen):
    """How a model is told how long to think; a mode with nothing but a name is the chat template's own default."""

    name: str
    suffix: str = ""
    """Appended to the last of the user's messages."""
    system: str | None = None
    """A system prompt; put before the one that the conversation has, where it has one."""
    arguments: TemplateArguments = Field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def switches(self) -> bool:
        """Whether it states anything."""
        return bool(self.suffix or self.system is not None or self.arguments)

    def named(self, task: str) -> str:
        """What a task is called when it is asked in this mode."""
        return f"{task} ({self.name})"


def without_mode(task: str, mode: str | None) -> str:
    """What a task is called that may have been named for a mode."""
    return task if mode is None else task.removesuffix(f" ({mode})")


class Replies(Stored):
    """What the replies to a task are like, where it was asked in a thinking mode."""

    measures: tuple[Measured, ...]
    """Means over items; their values item by item are in `items.parquet`, in columns of their keys."""
    count: int
    """Replies."""
    seconds: float
    """Wall-clock time of generating them, with the step's number of requests in flight."""
