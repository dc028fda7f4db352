"""Load levels of a workload, the workloads that ship with the package, and how a user names one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from whichbits.core.errors import UserError
from whichbits.schema.workload import Limit, Slo, Workload


@dataclass(frozen=True)
class LoadLevel:
    """One load: a fixed number of requests in flight (`concurrency`) or of arrivals per second (`rate`)."""

    name: str
    concurrency: int | None
    rate: float | None
    warmup: int
    requests: int


def at_concurrency(workload: Workload, concurrency: int) -> LoadLevel:
    """LoadLevel that keeps `concurrency` requests in flight; a warm-up of as many comes before the measured ones."""
    name = "synchronous" if concurrency == 1 else f"concurrency {concurrency}"
    return LoadLevel(name, concurrency, None, warmup=concurrency, requests=workload.requests_per_stream * concurrency)


def at_rate(workload: Workload, rate: float) -> LoadLevel:
    """LoadLevel at which requests arrive by a Poisson process of `rate` per second, whatever the server does."""
    warmup = -(-workload.rate_requests // 10)
    return LoadLevel(f"rate {rate:g}", None, rate, warmup=warmup, requests=workload.rate_requests)


@cache
def named_workloads() -> Mapping[str, Workload]:
    """The workloads that ship with the package, by name."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(
        files("whichbits.serving").joinpath("workloads.yaml").read_text(encoding="utf-8")
    )
    return {name: Workload(name=name, **fields) for name, fields in entries.items()}


_LIMIT = "give a limit as {seconds: 1}, or with its percentile as {seconds: 1, percentile: 90}"
_SHAPES = {
    "model_type": {"slo": "give limits as {ttft: {seconds: 1}}", **dict.fromkeys(("ttft", "itl", "tpot", "latency"), _LIMIT)},
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
