"""Results on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from whichbits.api.bench import MeasuredLoad
from whichbits.api.catalogues import Device
from whichbits.api.weights import ServedWeights
from whichbits.formats.catalogue import aliases_of
from whichbits.formats.format import Format
from whichbits.published.figures import PublishedFigure
from whichbits.reporting.context import PublishedComparison
from whichbits.reporting.numbers import interval

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.schema.serve import Distribution

Row = Mapping[str, Any]
UNBROKEN = 100_000
"""Columns of what is no terminal."""


def console() -> Console:
    """Standard output; in a pipe or a file a row or a sentence is one line, unless COLUMNS says how wide it is."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNBROKEN)


def print_json(value: Any) -> None:
    """Write a result as JSON, in full precision."""
    # Other letters are escaped, so that no terminal's encoding can change them.
    sys.stdout.write(json.dumps(plain(value), indent=2, default=str) + "\n")


def plain(value: Any) -> Any:
    """A result as lists, mappings, numbers and text."""
    if isinstance(value, BaseModel):
        return json.loads(value.model_dump_json())
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {name: plain(field) for name, field in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    return value


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows with equal keys as a table; numbers have four significant digits."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(rows[0] if rows else ()):
        header = str(column).replace("_", " ")
        table.add_column(header, overflow="fold", no_wrap=place == 0, min_width=max(map(len, header.split()), default=0))
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row.values()))
    console().print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return str(float(f"{value:.4g}")) if isinstance(value, float) else str(value)


def print_results(results: Sequence[Any], as_json: bool) -> None:
    """Print dataclasses of one kind, or rows, as JSON or as a table."""
    if as_json:
        print_json(results)
        return
    rows = [_row(result) for result in results]
    dropped = {name for name in (rows[0] if rows else ()) if name == "weights" and all(row[name] is None for row in rows)}
    print_rows([{name: value for name, value in row.items() if name not in dropped} for row in rows])


def _row(result: Any) -> Row:
    """A result as a row of a table."""
    match result:
        case MeasuredLoad():
            return _load(result)
        case Device():
            return _device(result)
        case Format():
            return _format(result)
        case PublishedFigure():
            return _figure(result)
        case PublishedComparison():
            return _comparison(result)
        case Mapping():
            return result
    row = {name: getattr(result, name) for name in result.__dataclass_fields__}
    return {name: str(value) if isinstance(value, ServedWeights) else value for name, value in row.items()}


def _load(load: MeasuredLoad) -> Row:
    metrics = load.metrics
    return {
        "workload": load.workload,
        "round": load.round,
        "load": load.load,
        "requests_per_s": metrics.requests_per_second,
        "output_tokens_per_s": metrics.output_tokens_per_second,
        "latency_s": _mean(metrics.latency_s),
        "latency_p99_s": _percentile(metrics.latency_s, "99"),
        "ttft_s": _mean(metrics.ttft_s),
        "ttft_p99_s": _percentile(metrics.ttft_s, "99"),
        "itl_s": _mean(metrics.itl_s),
        "itl_p99_s": _percentile(metrics.itl_s, "99"),
        "valid": "yes" if load.valid else f"no: {'; '.join(load.reasons)}",
        "weights": None if load.weights is None else str(load.weights),
    }


def _mean(found: Distribution | None) -> float | None:
    return None if found is None else found.mean


def _percentile(found: Distribution | None, at: str) -> float | None:
    """None where the sample is too small for it."""
    percentile = None if found is None else found.percentiles[at]
    return None if percentile is None else percentile.value


def _device(device: Device) -> Row:
    rates = {f"{kind}_tflops": device.tflops.get(kind) for kind in ("bf16", "int8", "fp8", "fp4")}
    return {
        "hardware": device.name,
        "memory_gb": round(device.memory_gb),
        "bandwidth_gb_s": round(device.bandwidth_gb_s),
        **{name: None if rate is None else round(rate) for name, rate in rates.items()},
        "usd_per_hour": device.usd_per_hour,
    }


def _figure(figure: PublishedFigure) -> Row:
    names = ("model", "format", "setting", "on", "quantity", "printed", "corrected", "erratum", "source")
    return {name: getattr(figure, name) for name in names}


def _comparison(entry: PublishedComparison) -> Row:
    unit = "%" if entry.quantity == "recovery" else ""
    return {
        "candidate": entry.candidate,
        "on": entry.on,
        "quantity": entry.quantity,
        "here": interval(entry.own, unit) if entry.own else None,
        "published": entry.published,
        "published_above_chance": entry.above_chance,
        "source": entry.source,
        "erratum": entry.erratum,
    }


def _format(format: Format) -> Row:
    def bits(args: Any) -> str:
        return "16" if args is None else f"{args.num_bits}-bit {args.type}, {args.strategy}"

    return {
        "format": format.name,
        "aliases": ", ".join(aliases_of(format.name)),
        "weights": bits(format.weights),
        "activations": bits(format.activations),
        "for": format.purpose,
        "not_made": format.refused or "",
    }
