"""Measured speeds: rows of a model on a deployment under a load, with what was seen."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.hardware.catalogue import Hardware, find
from whichbits.models.catalogue import find_shape
from whichbits.models.shape import Shape
from whichbits.prediction.model.kernels import Engine, Kernel, engine, kernel
from whichbits.prediction.query import question, read_rows
from whichbits.published.figures import printed_number

QUANTITIES = ("latency_s", "tpot_s", "ttft_s", "qps")
PUBLISHED = ("paper_table_5", "paper_table_6", "r1_distill_llama_8b_latency", "r1_distill_llama_8b_rate")
"""Tables in whichbits.published that hold speeds."""
LEFT_OUT = frozenset({"docstring-a100"})
"""Errata whose cells are left out of fits and figures; the others are corrected on reading."""


@dataclass(frozen=True)
class Measurement:
    """One measured quantity.

    `low` and `high` bound what was printed as `value`; `concurrency` infinity means the highest rate; `tensor_parallel` None
    leaves the layout to the predictor.
    """

    source: str
    shape: Shape
    model: str
    hardware: Hardware
    count: int
    kernel: Kernel
    engine: Engine
    tensor_parallel: int | None
    prompt: float
    output: float
    concurrency: float
    quantity: str
    value: float
    low: float
    high: float

    @property
    def load(self) -> str:
        """`synchronous`, `loaded` or `max`."""
        return "max" if self.concurrency == float("inf") else "synchronous" if self.concurrency == 1 else "loaded"


def _narrowed(bounds: tuple[float, float], others: tuple[float, float]) -> tuple[float, float]:
    low, high = max(bounds[0], others[0]), min(bounds[1], others[1])
    return (low, high) if low <= high else bounds


def _published_row(row: Mapping[str, str], table: str) -> Measurement:
    """A row of a published table; Q/$ narrows what the latency or rate was rounded from."""
    synchronous = "latency_s" in row
    quantity = "latency_s" if synchronous else "qps"
    _, low, high = printed_number(row[quantity])
    if row.get("queries_per_dollar"):
        _, few, many = printed_number(row["queries_per_dollar"])
        hourly = float(row["price_per_hour"])
        if synchronous:
            low, high = _narrowed((low, high), (3600 / (many * hourly), 3600 / (few * hourly)))
        else:
            low, high = _narrowed((low, high), (few * hourly / 3600, many * hourly / 3600))
    low = max(low, high / 100)
    return Measurement(
        source=table,
        shape=find_shape(row["model"], allow_download=False),
        model=row["model"],
        hardware=find(row["hardware"]),
        count=int(row["count"]),
        kernel=kernel(row["format"]),
        engine=engine(row["engine"]),
        tensor_parallel=None,
        prompt=float(row["prompt_tokens"]),
        output=float(row["output_tokens"]),
        concurrency=1.0 if synchronous else float("inf"),
        quantity=quantity,
        value=(low + high) / 2,
        low=low,
        high=high,
    )


def published() -> list[Measurement]:
    """Speeds printed in the paper's tables 5 and 6 and on a model card, without the cells known to be wrong."""
    folder = files("whichbits.published")
    measurements = []
    for table in PUBLISHED:
        rows = csv.DictReader(io.StringIO(folder.joinpath(f"{table}.csv").read_text(encoding="utf-8")))
        measurements += [_published_row(row, table) for row in rows if row["erratum"] not in LEFT_OUT]
    return measurements


def measurements(rows: Iterable[Mapping[str, str]], source: str) -> list[Measurement]:
    """Measurements of a user's rows: the columns of points, and any of latency_s, tpot_s, ttft_s, qps.

    Raises UserError, with the row's place in `source`, for what is not known and numbers that cannot be.
    """
    found: list[Measurement] = []
    for number, row in enumerate(rows, start=2):
        try:
            found += _measured(row, source)
        except UserError as error:
            raise UserError(f"{source}, line {number}: {error.message}", remedy=error.remedy) from error
    return found


def _measured(row: Mapping[str, str], source: str) -> list[Measurement]:
    query = question(row)
    common = {
        "source": source,
        "shape": find_shape(query.model),
        "model": query.model,
        "hardware": find(query.hardware),
        "count": query.count,
        "kernel": kernel(query.format),
        "engine": engine(query.engine),
        "tensor_parallel": query.tensor_parallel,
        "prompt": float(query.prompt_tokens),
        "output": float(query.output_tokens),
        "concurrency": query.concurrency,
    }
    values = {quantity: _positive(quantity, row[quantity]) for quantity in QUANTITIES if row.get(quantity)}
    return [
        Measurement(**common, quantity=quantity, value=value, low=value, high=value)  # type: ignore[arg-type]
        for quantity, value in values.items()
    ]


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (isfinite(value) and value > 0):
        raise UserError(f"{name}: {text!r} is not a positive number", remedy="give one, or leave the cell empty")
    return value


_FORMATS = {"": "bf16", "fp8": "w8a8-fp", "fp8_block": "fp8-block"}
"""Formats by AIConfigurator's name of the matrix products' number type."""


_UNNAMED = {"vllm": "0.12.0"}
"""Version of an engine in AIConfigurator's rows that name none: that of its rows that do."""


def _release(backend: str, version: str) -> str:
    version = version or _UNNAMED.get(backend, "")
    return f"{backend}=={version}" if version else backend


def aiconfigurator(path: Path) -> list[Measurement]:
    """Serving points of AIConfigurator's silicon_sample.csv (dense models, aggregated serving): TPOT and TTFT of each.

    An empty precision is taken as 16 bit, and an empty version of vLLM as that of its other rows, which the file does not say.
    Raises UserError for a precision that is not known here.
    """
    given = read_rows(path)
    unknown = sorted({row["gemm_quant_mode"] for row in given} - _FORMATS.keys())
    if unknown:
        raise UserError(f"{path}: gemm_quant_mode {', '.join(unknown)} is not known", remedy="leave such rows out")
    rows = [
        {
            "model": row["model_path"],
            "hardware": row["system"],
            "count": row["tp_size"],
            "tensor_parallel": row["tp_size"],
            "format": _FORMATS[row["gemm_quant_mode"]],
            "engine": _release(row["backend"], row.get("backend_version", "")),
            "prompt_tokens": row["isl"],
            "output_tokens": row["osl"],
            "concurrency": row["batch_size"],
            "tpot_s": str(float(row["silicon_tpot_ms"]) / 1e3),
            "ttft_s": str(float(row["silicon_ttft_ms"]) / 1e3),
        }
        for row in given
    ]
    return measurements(rows, "aiconfigurator")
