"""What `prefill_decode` steps take and return: the time of a batch's prefill and of its decode steps, measured apart."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from whichbits.schema.footprint import Footprint
from whichbits.schema.frozen import Stored, Written
from whichbits.schema.server_abilities import ServerAbilities
from whichbits.schema.session import SessionInputs, WeightsBehind
from whichbits.schema.summary import Summary

Phase = Literal["prefill", "decode"]
BatchSize = Annotated[int, Field(ge=1, le=4096)]
Tokens = Annotated[int, Field(ge=16, le=10_000_000)]

TOKENS_A_STEP = 1024
"""Tokens of prompts that a server takes in one step, at the least."""
SHORTEST_PROMPT = 4


class PrefillDecode(Written):
    """Batch sizes and lengths at which prefill and decode are measured apart."""

    batch_sizes: Annotated[tuple[BatchSize, ...], Field(min_length=1)] = (1, 4, 16)
    """Requests that are sent at once."""
    prompt_tokens: Annotated[tuple[Tokens, ...], Field(min_length=1)] | None = None
    """Of prefill; default: the prompts of the study's workloads."""
    context_tokens: Annotated[tuple[Tokens, ...], Field(min_length=1)] | None = None
    """Prompt and output so far, of decode; default: those half-way through the outputs of the study's workloads."""
    repeats: int = Field(default=3, ge=2, le=100)
    """Batches measured in each round at each size and length, after one as warm-up."""
    steps: int = Field(default=32, ge=8, le=1024)
    """Decode steps with the whole batch in flight."""

    @field_validator("batch_sizes", "prompt_tokens", "context_tokens")
    @classmethod
    def _ascending(cls, numbers: Any) -> Any:
        if numbers is not None and list(numbers) != sorted(set(numbers)):
            raise ValueError("must be ascending without repetition, e.g. [1, 8, 16]")
        return numbers

    def points(self) -> tuple[Point, ...]:
        """Everything that is measured, once the lengths are settled."""
        lengths: dict[Phase, tuple[int, ...]] = {"prefill": self.prompt_tokens or (), "decode": self.context_tokens or ()}
        return tuple(
            Point(phase=phase, batch_size=size, tokens=tokens)
            for phase, of_phase in lengths.items()
            for tokens in of_phase
            for size in self.batch_sizes
        )

    def lengths(self, point: Point) -> tuple[int, int]:
        """Prompt and output tokens of the requests of a point.

        Of prefill the output is one token. Of decode there are `steps` of them, and as many as the first stream has got before
        the last one's prompt is taken; half-way through its output a request has the point's context.
        """
        if point.phase == "prefill":
            return point.tokens, 1
        output = self.steps + ceil(point.batch_size * point.tokens / TOKENS_A_STEP) + 1
        return max(point.tokens - output // 2, SHORTEST_PROMPT), output

    @property
    def longest_request(self) -> int:
        """Most tokens of a prompt and its output together."""
        return max((sum(self.lengths(point)) for point in self.points()), default=0)


class Point(Stored):
    """A size of a batch and a length of its requests: of the prompts in prefill, of prompt and output so far in decode."""

    phase: Phase
    batch_size: int
    tokens: int


class PrefillDecodeInputs(SessionInputs):
    """A checkpoint and the base in an engine, and the batches that they are measured with."""

    batches: PrefillDecode
    """Its lengths are settled."""


class MeasuredBatches(Point):
    """The batches of one size and length in one round."""

    seconds: tuple[float, ...]
    """Of each batch that was answered: from sending it to the last first token, or the mean of its decode steps."""
    valid: bool
    reasons: tuple[str, ...] = ()
    """Why it is not valid."""
    abilities: ServerAbilities | None = None
    """By which requests were made; None in results of before, all of servers that take the usual ones."""


class PrefillDecodeSummary(Summary, kind="prefill_decode"):
    """A candidate's batches and the base's of the same round."""

    session: str
    """Measurement session."""
    order: tuple[str, ...] = ()
    """In which the candidates of the round were measured."""
    batches: tuple[MeasuredBatches, ...]
    base_batches: tuple[MeasuredBatches, ...]
    footprint: Footprint | None = None
    """Of the candidate's server, after all batches."""
    base_footprint: Footprint | None = None
    weights: WeightsBehind | None = None
