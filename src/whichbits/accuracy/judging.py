"""Who judges answers, and how often; data of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

Message = Mapping[str, str]
"""Role and content of a turn."""


class Judging(BaseModel):
    """A judge behind an OpenAI-compatible address, and how it is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """The judge's name at its address."""
    rounds: int = Field(default=2, ge=1, le=100)
    """How often each answer is judged, each time in both orders."""
    max_tokens: int = Field(default=4096, ge=1)
    """Longest judgment, tokens."""
    temperature: float = Field(default=0.0, ge=0, le=10)
    baseline: str | None = None
    """File of the answers to judge against, in place of the task's own baseline; its contents are part of a step's key."""
    url: str = Field(min_length=1)
    """Its address; no part of a step's key."""
    key_variable: str = Field(default="OPENAI_API_KEY", min_length=1)
    """The variable of the environment that holds its key; no part of a step's key."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    """Judgments under way at once; no part of a step's key."""
    prompt_price: Annotated[float, Field(ge=0)] | None = None
    """Dollars for a million tokens read; no part of a step's key."""
    output_price: Annotated[float, Field(ge=0)] | None = None
    """Dollars for a million tokens written; no part of a step's key."""


@dataclass(frozen=True)
class Reply:
    """What a judge said, and the tokens that its server counted."""

    text: str
    prompt_tokens: int
    tokens: int


class Judge(Protocol):
    """A model that answers conversations."""

    def replies(self, conversations: Sequence[Sequence[Message]], *, seeds: Sequence[int]) -> list[Reply]:
        """The answer to each conversation, with a seed each."""
        ...

    def say(self, text: str) -> None:
        """Tell the user before the judge is asked."""
        ...


@dataclass(frozen=True)
class JudgingWork:
    """What judging takes."""

    model: str
    """The judge."""
    requests: int
    prompt_tokens: int
    """About how many it reads."""
    most_tokens: int
    """How many it writes at most."""
    dollars: float | None
    """At most; None where its price is not known."""

    @property
    def text(self) -> str:
        """In words."""
        cost = "" if self.dollars is None else f", at most ${self.dollars:,.2f}"
        counts = f"about {self.prompt_tokens:,} tokens to read, at most {self.most_tokens:,} to write"
        return f"{self.requests:,} judgments by {self.model}: {counts}{cost}"


def work_of(requests: int, prompt_tokens: int, judging: Judging) -> JudgingWork:
    """What so many requests take that have so many tokens to read together."""
    most, dollars = requests * judging.max_tokens, None
    if judging.prompt_price is not None and judging.output_price is not None:
        dollars = (prompt_tokens * judging.prompt_price + most * judging.output_price) / 1e6
    return JudgingWork(judging.model, requests, prompt_tokens, most, dollars)
