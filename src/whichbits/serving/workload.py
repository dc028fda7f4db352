"""Workloads: what one request looks like, the ladder of loads, and the latency limits."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from whichbits.core.errors import UserError

Concurrency = Annotated[int, Field(ge=1, le=4096)]


class Frozen(BaseModel):
    """Immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limit(Frozen):
    """A latency that a percentile of the requests must not exceed."""

    seconds: float = Field(gt=0, allow_inf_nan=False)
    percentile: float = Field(default=95, gt=0, lt=100)


class Slo(Frozen):
    """Latency limits of a workload; one that is absent is not asked for."""

    ttft: Limit | None = None
    """Time to first token of a request."""
    itl: Limit | None = None
    """Mean gap between the chunks of a request's stream."""
    latency: Limit | None = None
    """Time from sending a request to its last byte."""

    @model_validator(mode="after")
    def _some_limit(self) -> Slo:
        if self.ttft is None and self.itl is None and self.latency is None:
            raise ValueError("names no limit; give at least one of ttft, itl, latency, or leave slo out")
        return self


class Workload(Frozen):
    """A use case: lengths of prompt and output in tokens, the loads to measure it at, and its limits."""

    name: str
    prompt_tokens: int = Field(ge=4)
    output_tokens: int = Field(ge=2)
    synchronous: bool = True
    """Measure one request at a time."""
    concurrency: tuple[Concurrency, ...] | Literal["auto"] = "auto"
    """Numbers of requests kept in flight; `auto` doubles from 2 until throughput stops growing."""
    waves: int = Field(default=10, ge=5, le=1000)
    """Requests measured at concurrency N: waves · N, after a warm-up of N."""
    rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Poisson arrivals per second, measured as a rung of its own."""
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
    def _some_rung(self) -> Workload:
        if not self.synchronous and not self.concurrency and self.rate is None:
            raise ValueError("measures nothing; set synchronous: true, a concurrency or a rate")
        return self


@dataclass(frozen=True)
class Rung:
    """One load: a fixed number of requests in flight (`concurrency`) or of arrivals per second (`rate`)."""

    name: str
    concurrency: int | None
    rate: float | None
    warmup: int
    requests: int


def closed_rung(workload: Workload, concurrency: int) -> Rung:
    """Rung that keeps `concurrency` requests in flight; a warm-up wave comes before the measured ones."""
    name = "synchronous" if concurrency == 1 else f"concurrency {concurrency}"
    return Rung(name, concurrency, None, warmup=concurrency, requests=workload.waves * concurrency)


def open_rung(workload: Workload, rate: float) -> Rung:
    """Rung at which requests arrive by a Poisson process of `rate` per second, whatever the server does."""
    warmup = -(-workload.rate_requests // 10)
    return Rung(f"rate {rate:g}", None, rate, warmup=warmup, requests=workload.rate_requests)


@cache
def named_workloads() -> Mapping[str, Workload]:
    """The workloads that ship with the package, by name."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(
        files("whichbits.serving").joinpath("workloads.yaml").read_text(encoding="utf-8")
    )
    return {name: Workload(name=name, **fields) for name, fields in entries.items()}


_LIMIT = "give a limit as {seconds: 1}, or with its percentile as {seconds: 1, percentile: 90}"
_SHAPES = {
    "model_type": {"slo": "give limits as {ttft: {seconds: 1}}", "ttft": _LIMIT, "itl": _LIMIT, "latency": _LIMIT},
    "tuple_type": {"concurrency": "give a list of numbers, as [4], or auto"},
}
"""How a field that is not of its shape is written, by type of error."""


def parse_workload(entry: str | Mapping[str, Any]) -> Workload:
    """Workload of a name, or of the user's own fields.

    Raises UserError with the field, its value and a remedy.
    """
    if isinstance(entry, str):
        return _by_name(entry)
    try:
        return Workload.model_validate(dict(entry))
    except ValidationError as error:
        first = error.errors()[0]
        # Pydantic names the member of a union (`tuple[...]`) as if it were a field.
        field = ".".join(["workload", *(str(part) for part in first["loc"] if "[" not in str(part))])
        if first["type"] == "missing":
            raise UserError(
                f"{field} is missing", remedy="give it; a workload needs name, prompt_tokens and output_tokens, a limit seconds"
            ) from None
        if first["type"] == "extra_forbidden":
            fields = (Workload, Slo, Limit)[len(first["loc"]) - 1].model_fields
            close = difflib.get_close_matches(str(first["loc"][-1]), fields, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(fields)}"
            raise UserError(f"{field} is not a field of a workload", remedy=remedy) from None
        written = _SHAPES.get(first["type"], {}).get(field.rpartition(".")[2])
        reason = written or first["msg"].removeprefix("Value error, ")
        raise UserError(f"{field} = {first['input']!r} is not valid", remedy=reason) from None


def _by_name(name: str) -> Workload:
    known = named_workloads()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"the named workloads are {', '.join(known)}"
        raise UserError(f"workload {name!r} is not known", remedy=remedy)
    return known[name]


def check_context(workload: Workload, max_positions: int) -> None:
    """Refuse a workload whose prompt and output together exceed the model's context of `max_positions` tokens."""
    total = workload.prompt_tokens + workload.output_tokens
    if total > max_positions:
        raise UserError(
            f"workload {workload.name} needs {workload.prompt_tokens} + {workload.output_tokens} = {total} tokens; "
            f"the model's context holds {max_positions}",
            remedy="leave the workload out, shorten it, or choose a model with a longer context",
        )
