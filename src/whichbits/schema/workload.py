"""A workload: what its requests look like, the loads to measure it at, and its limits of latency."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil, erf, exp, expm1, floor, pi, sqrt
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from whichbits.schema.frozen import Written

WORKLOAD_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
"""What a workload can be called, as a regular expression."""

MOST_TOKENS = 10**9
"""Of a prompt or an output: more than any model takes."""

FIXED = 1e-3
"""Standard deviation, in tokens, below which all lengths are the mean."""

Concurrency = Annotated[int, Field(ge=1, le=4096)]


class Limit(Written):
    """A latency that a percentile of the requests must not exceed."""

    seconds: float = Field(gt=0, allow_inf_nan=False)
    percentile: float = Field(default=95, gt=0, lt=100)


class Slo(Written):
    """Latency limits of a workload; one that is absent is not asked for."""

    ttft: Limit | None = None
    """Time to first token of a request."""
    itl: Limit | None = None
    """Mean gap between the chunks of a request's stream."""
    tpot: Limit | None = None
    """Mean time of each output token of a request after its first."""
    latency: Limit | None = None
    """Time from sending a request to its last byte."""

    def limits(self) -> dict[str, Limit]:
        """The limits that are asked for, by name."""
        named = {"ttft": self.ttft, "itl": self.itl, "tpot": self.tpot, "latency": self.latency}
        return {name: limit for name, limit in named.items() if limit is not None}

    @model_validator(mode="after")
    def _some_limit(self) -> Slo:
        if not self.limits():
            raise ValueError("names no limit; give at least one of ttft, itl, tpot, latency, or leave slo out")
        return self

    @model_serializer(mode="wrap")
    def _tpot_where_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys of steps without this limit are those of when there was none."""
        return {name: value for name, value in handler(self).items() if value is not None or name != "tpot"}


class Lengths(Written):
    """Numbers of tokens that differ from request to request: a normal distribution that is cut off at both ends."""

    mean: float = Field(ge=1, le=MOST_TOKENS, allow_inf_nan=False)
    stdev: float = Field(ge=0, le=MOST_TOKENS, allow_inf_nan=False)
    min: int = Field(default=0, ge=0, le=MOST_TOKENS)
    """Default: three standard deviations below the mean, and at least 1."""
    max: int = Field(default=0, ge=0, le=MOST_TOKENS)
    """Default: three standard deviations above the mean."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        low = self.min or max(1, floor(self.mean - 3 * self.stdev))
        high = self.max or ceil(self.mean + 3 * self.stdev)
        if not low <= self.mean <= high:
            raise ValueError(f"has its mean, {self.mean:g}, outside {low} to {high}; give min, mean and max in this order")
        object.__setattr__(self, "min", low)
        object.__setattr__(self, "max", high)
        return self

    @property
    def mean_drawn(self) -> float:
        """Mean of the distribution as it is cut off, half a token beyond its ends, where it is rounded to them.

        μ − σ · (φ(b) − φ(a)) / (Φ(b) − Φ(a)), with a and b the ends in standard deviations from μ.
        """
        if self.stdev < FIXED:
            return self.mean
        a, b = ((end - self.mean) / self.stdev for end in (self.min - 0.5, self.max + 0.5))
        within = (erf(b / sqrt(2)) - erf(a / sqrt(2))) / 2
        density = exp(-a * a / 2) / sqrt(2 * pi)
        return self.mean - self.stdev * density * expm1((a - b) * (a + b) / 2) / within


def longest(tokens: int | Lengths) -> int:
    """Most tokens of a request."""
    return tokens.max if isinstance(tokens, Lengths) else tokens


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Ramp(Written):
    """Poisson arrivals whose rate grows, or falls, evenly with time."""

    begin: Rate = Field(validation_alias=AliasChoices("from", "begin"))
    """Requests per second at the beginning."""
    end: Rate = Field(validation_alias=AliasChoices("to", "end"))
    """And at the end."""
    seconds: float = Field(gt=0, le=86_400, allow_inf_nan=False)


class Trace(Written):
    """Arrivals and lengths of a recorded log."""

    file: Path
    """CSV or JSONL with a time, prompt tokens and output tokens a line; Mooncake's and BurstGPT's names of them are known."""
    speed: float = Field(default=1, gt=0, le=1_000_000)
    """2 replays it in half the time."""
    requests: int | None = Field(default=None, ge=20)
    """The first so many; default: all."""
    replay: bool = True
    """False: only its lengths are used, and its times are not."""


class Conversation(Written):
    """Requests are turns of conversations: the prompt of a turn holds all that was said before it."""

    turns: int = Field(ge=2, le=1000)
    user_tokens: int = Field(ge=1, le=MOST_TOKENS)
    """Tokens that the user adds in each turn after the first."""


class CapacitySearch(Written):
    """Runs of Poisson arrivals that look for the highest rate at which the limits hold."""

    runs: int = Field(default=3, ge=1, le=50)
    """In each round; each begins where those before it have come to."""
    requests: int | None = Field(default=None, ge=100, le=1_000_000)
    """Measured in each run; default, and least: 160 beyond the highest limited percentile, so 3,200 for the 95th."""


class NaturalOutput(Written):
    """A load of the user's own prompts whose answers may end before their longest."""

    concurrency: Concurrency = 16
    """Requests in flight; each prompt is asked once."""


@dataclass(frozen=True)
class Loads:
    """Some of the loads of a workload."""

    in_flight: tuple[int, ...] = ()
    """Requests kept in flight; 1 is one at a time."""
    rates: tuple[float, ...] = ()
    """Arrivals per second."""
    ramp: bool = False
    trace: bool = False
    capacity: bool = False
    """The runs that look for it."""

    def __or__(self, other: Loads) -> Loads:
        """The loads of both."""
        return Loads(
            in_flight=tuple(sorted({*self.in_flight, *other.in_flight})),
            rates=tuple(sorted({*self.rates, *other.rates})),
            ramp=self.ramp or other.ramp,
            trace=self.trace or other.trace,
            capacity=self.capacity or other.capacity,
        )


class Workload(Written):
    """A use case: lengths of prompt and output in tokens, the loads to measure it at, and its limits."""

    if_given: ClassVar[frozenset[str]] = frozenset(
        {
            "burstiness",
            "ramp",
            "trace",
            "prompts",
            "shared_prefix_tokens",
            "conversation",
            "capacity",
            "target_rate",
            "natural_output",
            "counted",
        }
    )
    """Fields that its JSON has only where they are given, so that the keys of steps without them are those of before."""

    name: str
    prompt_tokens: Annotated[int, Field(ge=4, le=MOST_TOKENS)] | Lengths
    output_tokens: Annotated[int, Field(ge=2, le=MOST_TOKENS)] | Lengths
    synchronous: bool = True
    """Measure one request at a time."""
    concurrency: tuple[Concurrency, ...] | Literal["auto"] = "auto"
    """Numbers of requests kept in flight; `auto` doubles from 2 until throughput stops growing."""
    requests_per_stream: int = Field(default=10, ge=5, le=1000, validation_alias=AliasChoices("requests_per_stream", "waves"))
    """Requests measured at concurrency N: requests_per_stream · N, after a warm-up of N."""
    rate: Rate | tuple[Rate, ...] | None = None
    """Arrivals per second, whatever the server does; each rate is measured as a load level of its own."""
    rate_requests: int = Field(default=100, ge=20, le=100_000)
    """Requests measured at each `rate`, after a warm-up of a tenth of them."""
    burstiness: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | Literal["constant"] | None = None
    """Shape of the gamma distribution of gaps at `rate`: 1 (default) is Poisson, less is bursts; `constant` is even gaps."""
    ramp: Ramp | None = None
    """A load level of arrivals whose rate grows."""
    trace: Trace | None = None
    """A recorded log: a load level that replays it, and the lengths of all load levels."""
    prompts: Path | None = None
    """JSONL of the user's own prompts (`prompt` or `messages`, and `output_tokens` where fewer); default: random tokens."""
    shared_prefix_tokens: int | None = Field(default=None, ge=1)
    """First tokens of all prompts that are the same, as a system prompt is: the server's prefix cache is used on purpose."""
    conversation: Conversation | None = None
    """Each stream sends the turns of conversations one after another; `prompt_tokens` are those of a first turn."""
    slo: Slo | None = None
    capacity: CapacitySearch | None = None
    """Look for the highest rate at which the limits hold."""

    target_rate: Rate | None = None
    """Arrivals per second that the deployment is to serve; what cannot, by its capacity, is not recommended."""
    natural_output: NaturalOutput | None = None
    """Ask the prompts once more, and let each answer end where the model ends it."""
    counted: bool | None = None
    """Its lengths were counted of requests that another tool sent."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Rates of arrival that are load levels of their own."""
        if self.rate is None:
            return ()
        return self.rate if isinstance(self.rate, tuple) else (self.rate,)

    @property
    def open_loop(self) -> bool:
        """Whether it has a load level of arrivals."""
        return bool(self.rates) or self.ramp is not None or (self.trace is not None and self.trace.replay)

    @property
    def file(self) -> Path | None:
        """What its requests are read from: a recorded log, or prompts."""
        return self.trace.file if self.trace is not None else self.prompts

    def with_file(self, path: Path | None) -> Workload:
        """The same workload with its log or its prompts at another path."""
        if path is None:
            return self
        if self.trace is not None:
            return self.model_copy(update={"trace": self.trace.model_copy(update={"file": path})})
        return self.model_copy(update={"prompts": path})

    def at(self, loads: Loads) -> Workload:
        """The same requests, at some of its loads alone."""
        alone = {
            "synchronous": False,
            "concurrency": loads.in_flight,
            "rate": loads.rates or None,
            "burstiness": self.burstiness if loads.rates else None,
            "ramp": self.ramp if loads.ramp else None,
            "trace": self.trace and self.trace.model_copy(update={"replay": loads.trace}),
            "capacity": self.capacity if loads.capacity else None,
            "natural_output": None,
        }
        return self.model_copy(update=alone)

    def together(self, other: Workload) -> Workload:
        """The same requests at the loads of both, where `other` is the same workload at other loads."""
        if self == other:
            return self
        loads = self._stated | other._stated
        whole = {name: getattr(self, name) or getattr(other, name) for name in ("burstiness", "ramp", "trace", "capacity")}
        return self.model_copy(update=whole).at(loads)

    @property
    def _stated(self) -> Loads:
        """Its loads, but for those that an `auto` sweep finds."""
        stated = () if self.concurrency == "auto" else self.concurrency
        return Loads(
            in_flight=(*((1,) if self.synchronous else ()), *stated),
            rates=self.rates,
            ramp=self.ramp is not None,
            trace=self.trace is not None and self.trace.replay,
            capacity=self.capacity is not None,
        )

    @property
    def longest_request(self) -> int:
        """Most tokens of a prompt and its output together."""
        said = longest(self.output_tokens) + self.conversation.user_tokens if self.conversation else 0
        turns = self.conversation.turns if self.conversation else 1
        return longest(self.prompt_tokens) + (turns - 1) * said + longest(self.output_tokens)

    @property
    def mean_prompt_tokens(self) -> int:
        """Tokens of a prompt that is sent, on average, over the turns of a conversation too, rounded."""
        return round(fmean(self._turn_lengths))

    @property
    def mean_output_tokens(self) -> int:
        """Tokens of an output that is asked for, on average, rounded."""
        return self._mean(self.output_tokens)

    def _mean(self, tokens: int | Lengths) -> int:
        """Of lengths that are drawn as they are drawn, of those that were counted of given requests as they were."""
        if not isinstance(tokens, Lengths):
            return tokens
        return round(tokens.mean if self.file is not None or self.counted else tokens.mean_drawn)

    @property
    def shared(self) -> float:
        """Share of the prompts' tokens that a prompt before them has too, on purpose: what a prefix cache can hold."""
        lengths = self._turn_lengths
        return ((self.shared_prefix_tokens or 0) + sum(lengths[:-1])) / sum(lengths)

    @property
    def most_shared(self) -> float:
        """The same where all requests are last turns."""
        lengths = self._turn_lengths
        return (lengths[-2] if len(lengths) > 1 else self.shared_prefix_tokens or 0) / lengths[-1]

    @property
    def _turn_lengths(self) -> list[int]:
        """Mean tokens of the prompts of a conversation's turns; of the only one where there is none."""
        turns, user = (self.conversation.turns, self.conversation.user_tokens) if self.conversation else (1, 0)
        first, said = self._mean(self.prompt_tokens), self.mean_output_tokens + user
        return [first + turn * said for turn in range(turns)]

    @field_validator("name")
    @classmethod
    def _kebab_case(cls, name: str) -> str:
        if not re.fullmatch(WORKLOAD_NAME, name):
            raise ValueError("must be lower-case words joined by hyphens, e.g. multi-turn-chat")
        return name

    @field_validator("concurrency", "rate")
    @classmethod
    def _ascending(cls, loads: Any) -> Any:
        if isinstance(loads, tuple) and list(loads) != sorted(set(loads)):
            raise ValueError("must be ascending without repetition, e.g. [4, 16, 64]")
        return loads

    @model_validator(mode="after")
    def _one_at_a_time_once(self) -> Self:
        """`synchronous` is a concurrency of 1: where both are given it is measured once."""
        if self.synchronous and self.concurrency != "auto":
            object.__setattr__(self, "concurrency", tuple(count for count in self.concurrency if count > 1))
        return self

    @model_validator(mode="after")
    def _some_load_level(self) -> Workload:
        if not self.synchronous and not self.concurrency and not self.open_loop:
            raise ValueError("measures nothing; set synchronous: true, a concurrency, a rate, a ramp or a trace")
        if self.capacity is not None and self.slo is None:
            raise ValueError("looks for its capacity and has no limits; give them by slo")
        if self.target_rate is not None and self.capacity is None:
            raise ValueError("has a target_rate and does not look for its capacity; give capacity: {} with an slo")
        if self.natural_output is not None and self.prompts is None:
            raise ValueError("lets outputs end by themselves and has no prompts; give prompts: random tokens have no end")
        if self.burstiness is not None and not self.rates:
            raise ValueError("has a burstiness and no rate; give the rate of its arrivals")
        if self.conversation is not None and (self.open_loop or self.capacity is not None):
            raise ValueError("has a conversation, whose turns wait for their answers: give a concurrency in place of arrivals")
        if self.conversation is not None and (self.prompts is not None or self.trace is not None):
            raise ValueError("has a conversation, which is made of random tokens: leave prompts and trace out")
        if self.prompts is not None and self.trace is not None:
            raise ValueError("has both prompts and a trace; give one of the two, as each says what the requests are")
        shortest = self.prompt_tokens.min if isinstance(self.prompt_tokens, Lengths) else self.prompt_tokens
        if self.shared_prefix_tokens is not None and self.shared_prefix_tokens >= shortest:
            raise ValueError(f"shares {self.shared_prefix_tokens} tokens and has prompts of {shortest}; share fewer")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None or name not in self.if_given}
