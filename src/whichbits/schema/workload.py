"""A workload: what one request looks like, the loads to measure it at, and its limits of latency."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from whichbits.schema.frozen import Written

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


class Workload(Written):
    """A use case: lengths of prompt and output in tokens, the loads to measure it at, and its limits."""

    name: str
    prompt_tokens: int = Field(ge=4)
    output_tokens: int = Field(ge=2)
    synchronous: bool = True
    """Measure one request at a time."""
    concurrency: tuple[Concurrency, ...] | Literal["auto"] = "auto"
    """Numbers of requests kept in flight; `auto` doubles from 2 until throughput stops growing."""
    requests_per_stream: int = Field(default=10, ge=5, le=1000, validation_alias=AliasChoices("requests_per_stream", "waves"))
    """Requests measured at concurrency N: requests_per_stream · N, after a warm-up of N."""
    rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Poisson arrivals per second, measured as a load level of its own."""
    rate_requests: int = Field(default=100, ge=20, le=100_000)
    """Requests measured at `rate`, after a warm-up of a tenth of them."""
    slo: Slo | None = None

    @field_validator("name")
    @classmethod
    def _kebab_case(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise ValueError("must be lower-case words joined by hyphens, e.g. multi-turn-chat")
        return name

    @field_validator("concurrency")
    @classmethod
    def _ascending(cls, concurrency: tuple[int, ...] | str) -> tuple[int, ...] | str:
        if not isinstance(concurrency, str) and list(concurrency) != sorted(set(concurrency)):
            raise ValueError("must be ascending without repetition, e.g. [4, 16, 64]")
        return concurrency

    @model_validator(mode="after")
    def _some_load_level(self) -> Workload:
        if not self.synchronous and not self.concurrency and self.rate is None:
            raise ValueError("measures nothing; set synchronous: true, a concurrency or a rate")
        return self
