"""Load levels of a workload, the workloads that ship with the package, and how a user names one."""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from whichbits.core.errors import UserError
from whichbits.schema import serve
from whichbits.schema.workload import Conversation, Lengths, Limit, Ramp, Slo, Trace, Workload, longest
from whichbits.serving.run_length import check_runs, warmup_of
from whichbits.serving.traffic.arrivals import Arrivals, Even, Growing, Random, Recorded
from whichbits.serving.traffic.log import Request


@dataclass(frozen=True)
class LoadLevel:
    """One load: a fixed number of requests in flight (`concurrency`), or `arrivals` whatever the server does."""

    name: str
    concurrency: int | None
    arrivals: Arrivals | None
    warmup: int
    requests: int
    seeks_capacity: bool = False
    """Whether it is one of the runs that look for the capacity."""
    turns: int = 1
    """Of the conversation that a stream goes through before it begins another."""

    def arrival_seed(self, seed: int) -> int:
        """Of its arrivals in a round of this seed: runs that look for the capacity have patterns of their own."""
        return zlib.crc32(f"{self.name} {seed}".encode()) if self.seeks_capacity else seed

    def turn(self, stream: int, sent: int) -> int:
        """Number of the request that a stream sends after `sent` others: turns count on from conversation to conversation.

        Conversations of a stream are `concurrency` apart. Streams begin at different turns, so that not all begin anew at once.
        """
        begun, turn = divmod(stream % self.turns + sent, self.turns)
        return (begun * (self.concurrency or 1) + stream) * self.turns + turn

    @property
    def rate(self) -> float | None:
        """Arrivals per second, on average; None where requests are kept in flight."""
        return None if self.arrivals is None else self.arrivals.rate

    @property
    def arrival_kind(self) -> serve.Arrivals | None:
        """How requests arrive; None where they are kept in flight."""
        return None if self.arrivals is None else self.arrivals.kind


def at_concurrency(workload: Workload, concurrency: int) -> LoadLevel:
    """LoadLevel that keeps `concurrency` requests in flight; a warm-up of as many comes before the measured ones."""
    name = "synchronous" if concurrency == 1 else f"concurrency {concurrency}"
    requests = workload.requests_per_stream * concurrency
    turns = workload.conversation.turns if workload.conversation else 1
    return LoadLevel(name, concurrency, None, warmup=concurrency, requests=requests, turns=turns)


def at_rate(workload: Workload, rate: float) -> LoadLevel:
    """LoadLevel at which requests arrive at `rate` per second, by the workload's burstiness (a Poisson process by default)."""
    warmup = warmup_of(workload.rate_requests)
    match workload.burstiness:
        case None:
            return LoadLevel(f"rate {rate:g}", None, Random(rate), warmup, workload.rate_requests)
        case "constant":
            return LoadLevel(f"rate {rate:g}, constant", None, Even(rate), warmup, workload.rate_requests)
        case shape:
            return LoadLevel(f"rate {rate:g}, burstiness {shape:g}", None, Random(rate, shape), warmup, workload.rate_requests)


def open_loads(workload: Workload, recorded: tuple[Request, ...]) -> tuple[LoadLevel, ...]:
    """LoadLevels of arrivals: at each rate, the ramp (without a warm-up, as it begins low), and the log `recorded`.

    Of a log the first tenth is the warm-up.
    """
    levels = [at_rate(workload, rate) for rate in workload.rates]
    if (ramp := workload.ramp) is not None:
        growing = Growing(ramp)
        levels.append(LoadLevel(f"ramp {ramp.begin:g} to {ramp.end:g}", None, growing, 0, growing.requests))
    if workload.trace is not None and workload.trace.replay:
        speed = workload.trace.speed
        times = tuple(request.arrival_s / speed for request in recorded)
        warmup = -(-len(times) // 10)
        name = "trace" if speed == 1 else f"trace, speed {speed:g}"
        levels.append(LoadLevel(name, None, Recorded(times), warmup, len(times) - warmup))
    return tuple(levels)


@cache
def named_workloads() -> Mapping[str, Workload]:
    """The workloads that ship with the package, by name."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(
        files("whichbits.serving").joinpath("workloads.yaml").read_text(encoding="utf-8")
    )
    return {name: Workload(name=name, **fields) for name, fields in entries.items()}


_LIMIT = "give a limit as {seconds: 1}, or with its percentile as {seconds: 1, percentile: 90}"
_SHAPES = {
    "model_type": {
        "slo": "give limits as {ttft: {seconds: 1}}",
        "trace": "give the path of a log, or {file: log.csv, speed: 2}",
        **dict.fromkeys(("ttft", "itl", "tpot", "latency"), _LIMIT),
    },
    "float_parsing": {"burstiness": "give a number, 1 for Poisson arrivals and less for bursts, or constant"},
    "tuple_type": {"concurrency": "give a list of numbers, as [4], or auto"},
}
"""How a field that is not of its shape is written, by type of error."""


_MEMBERS = ("Lengths", "constrained-int", "constrained-float", "float")
"""What pydantic calls members of a union, as if they were fields (and `tuple[...]`, `literal[...]`)."""


def _first(error: ValidationError) -> ErrorDetails:
    """The mistake to name: a field that is none, then a wrong one, as others are missing for it; then what is within another.

    Of a mapping that several types could be, what is within it.
    """
    found = error.errors()
    within = [one for one in found if not (isinstance(one["input"], Mapping) and one["type"].endswith("_type"))]
    order = ("extra_forbidden", "wrong", "missing")

    def place(one: ErrorDetails) -> tuple[int, int]:
        kind = one["type"] if one["type"] in order else "wrong"
        return order.index(kind), -len(one["loc"]) if kind == "missing" else 0

    return min(within or found, key=place)


def parse_workload(entry: str | Mapping[str, Any]) -> Workload:
    """Workload of a name, or of the user's own fields; those of a log or of prompts have their lengths in them already.

    Raises UserError with the field, its value and a remedy.
    """
    if isinstance(entry, str):
        return _by_name(entry)
    try:
        workload = Workload.model_validate(dict(entry))
    except ValidationError as error:
        first = _first(error)
        place = tuple(part for part in first["loc"] if "[" not in str(part) and part not in _MEMBERS)
        field = ".".join(["workload", *map(str, place)])
        if first["type"] == "missing":
            raise UserError(
                f"{field} is missing", remedy="give it; a workload needs name, prompt_tokens and output_tokens, a limit seconds"
            ) from None
        if first["type"] == "extra_forbidden":
            fields = _model_at(place).model_fields
            close = difflib.get_close_matches(str(first["loc"][-1]), fields, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(fields)}"
            raise UserError(f"{field} is not a field of a workload", remedy=remedy) from None
        written = _SHAPES.get(first["type"], {}).get(field.rpartition(".")[2])
        reason = written or first["msg"].removeprefix("Value error, ")
        raise UserError(f"{field} = {first['input']!r} is not valid", remedy=reason) from None
    check_runs(workload)
    return workload


def _model_at(place: tuple[str | int, ...]) -> type[BaseModel]:
    """The class that a field at this place of a workload belongs to."""
    parts: dict[str, type[BaseModel]] = {
        "slo": Slo,
        "ramp": Ramp,
        "trace": Trace,
        "conversation": Conversation,
        "prompt_tokens": Lengths,
        "output_tokens": Lengths,
    }
    if len(place) == 1:
        return Workload
    return Limit if len(place) == 3 and place[0] == "slo" else parts.get(str(place[0]), Workload)


def _by_name(name: str) -> Workload:
    known = named_workloads()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"the named workloads are {', '.join(known)}"
        raise UserError(f"workload {name!r} is not known", remedy=remedy)
    return known[name]


def check_context(workload: Workload, max_positions: int) -> None:
    """Refuse a workload whose prompt and output together exceed the model's context of `max_positions` tokens."""
    total = workload.longest_request
    if total > max_positions:
        prompt_tokens, output_tokens = longest(workload.prompt_tokens), longest(workload.output_tokens)
        raise UserError(
            f"workload {workload.name} needs {prompt_tokens} + {output_tokens} = {total} tokens; "
            f"the model's context holds {max_positions}",
            remedy="leave the workload out, shorten it, or choose a model with a longer context",
        )
