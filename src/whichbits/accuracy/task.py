"""A task: an accuracy benchmark as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from whichbits.accuracy.judging import Judging
from whichbits.schema.sampling import Sampling
from whichbits.schema.thinking import ThinkingMode

LATER = ("definition", "top_p", "samples", "reducer", "rescale", "judging", "mode", "order")


class Task(BaseModel):
    """What is asked, how the answer is limited, and how it is scored.

    Two tasks with equal fields and equal contents of the files they read give the same items.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = Field(ge=1)
    """Raised by hand with every change that can change a score."""
    kind: str
    """Name of its kind in `kinds/registry.py`: one of the package, or one from outside."""
    source: str
    """Generator's name, path of the JSONL file, lm-evaluation-harness's name of a task or group, or a name of the kind's."""
    description: str
    metric: str
    """`acc`, `acc_norm`, `exact_match`, `regex`, `pass@1`, or, for `lm-eval`, any of its metrics with values from 0 to 1;
    several joined by + are averaged."""
    filter: str | None = None
    """lm-evaluation-harness's filter (`strict-match`, ...); None for a task's first."""
    chance: float | None = Field(default=None, ge=0, lt=1)
    """Expected score of guessing; None: 1 / number of choices, item by item, and 0 where there are no choices."""
    rescale: Literal["whole", "members"] | None = None
    """Whether a summary also has the score above chance as the Open LLM Leaderboard gives it: of all items together, or the
    mean of a group's members."""
    items: int | None = Field(default=None, ge=1)
    """How many items a generator makes."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Largest number of generated tokens; None where the task only reads log-likelihoods or lm-evaluation-harness states it."""
    stop: tuple[str, ...] = ()
    """Strings that end a generated answer; not part of it."""
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = 1.0
    samples: int = 1
    """Answers an item."""
    reducer: str = "mean"
    """How an item's answers become its score; see `Sampling`."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Worked examples before each item (`lm-eval`); None for the task's own number."""
    chat_template: bool = False
    """Whether prompts go through the tokenizer's chat template."""
    mode: ThinkingMode | None = None
    """Of thinking, in which the model is asked; None leaves prompts as they are."""
    judging: Judging | None = None
    """Who judges the answers, where a judge does."""
    order: int | None = None
    """Seed of the random order that its items are taken in; None: as they come. A limit then counts items of all members."""
    definition: str | None = None
    """SHA-256 of what defines the task outside whichbits; None where `version` says it all."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that tasks did not always have are left out where they say nothing: the others are part of steps' keys."""
        fields: dict[str, Any] = dump(self)
        for name in LATER:
            if fields.get(name) == type(self).model_fields[name].default:
                fields.pop(name, None)
        return fields

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, samples=self.samples, reducer=self.reducer)

    def in_mode(self, mode: ThinkingMode, *, max_tokens: int | None) -> Task:
        """The task asked in a thinking mode, which its name says, with a longest reply of so many tokens; None: its own."""
        longest = self.max_tokens if max_tokens is None else max_tokens
        return self.model_copy(update={"name": mode.named(self.name), "mode": mode, "max_tokens": longest})

    def sampled(self, sampling: Sampling) -> Task:
        """The task with its answers drawn otherwise."""
        return self.model_copy(update=sampling.model_dump())


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
