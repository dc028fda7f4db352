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


def work_of(requests: int, prompt_tokens: int, judging: Judging) -> str:
    """Requests and tokens of judging, and what they cost at most, in words."""
    most = requests * judging.max_tokens
    text = f"{requests:,} judgments by {judging.model}: about {prompt_tokens:,} tokens to read, at most {most:,} to write"
    if judging.prompt_price is None or judging.output_price is None:
        return text
    dollars = (prompt_tokens * judging.prompt_price + most * judging.output_price) / 1e6
    return f"{text}, at most ${dollars:,.2f}"
