"""Many predictions from a table to a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from whichbits.errors import UserError
from whichbits.predict.coefficients import Coefficients, shipped
from whichbits.predict.measurements import parse_concurrency, read_rows
from whichbits.predict.predictor import Prediction, Query, predict_many
from whichbits.predict.ratios import Speedup, speedups
from whichbits.predict.tiers import LEVELS

INPUTS = ("model", "format", "hardware", "count", "prompt_tokens", "output_tokens", "concurrency")
QUANTITIES = ("latency_s", "ttft_s", "tpot_s", "qps")
OUTPUTS = (
    *QUANTITIES,
    "qps_steady",
    *(f"{quantity}_{side}_{level}" for quantity in QUANTITIES for level in LEVELS for side in ("low", "high")),
    "speedup_over",
    "speedup",
    *(f"speedup_{side}_{level}" for level in LEVELS for side in ("low", "high")),
    "tensor_parallel_used",
    "pipeline_stages",
    "replicas",
    "tier",
    "provenance",
    "reason",
)


def query(row: Mapping[str, str], where: str) -> Query:
    """The query of a row; `where` names it in errors."""
    try:
        return Query(
            model=row["model"],
            format=row["format"],
            hardware=row["hardware"],
            count=int(row["count"]),
            prompt_tokens=int(row["prompt_tokens"]),
            output_tokens=int(row["output_tokens"]),
            concurrency=parse_concurrency(row["concurrency"]),
            tensor_parallel=int(row["tensor_parallel"]) if row.get("tensor_parallel") else None,
            engine=row.get("engine") or "vllm",
        )
    except KeyError as error:
        raise UserError(
            f"{where}: column {error.args[0]!r} is missing", remedy=f"the columns are {', '.join(INPUTS)}"
        ) from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {error}", remedy="give numbers in the columns of numbers") from error
    except UserError as error:
        raise UserError(f"{where}: {error.message}", remedy=error.remedy) from error


def answer_row(prediction: Prediction, faster: Speedup | None) -> dict[str, str]:
    """The columns of an answer and of its speed over 16 bit, empty where there is none."""
    row = dict.fromkeys(OUTPUTS, "")
    row |= {"provenance": prediction.provenance, "tier": prediction.tier or "", "reason": prediction.reason or ""}
    if prediction.layout is None:
        return row
    for quantity in (*QUANTITIES, "qps_steady"):
        row[quantity] = f"{getattr(prediction, quantity):.6g}"
    for quantity in QUANTITIES:
        for level, (low, high) in prediction.intervals[quantity].items():
            row[f"{quantity}_low_{level}"], row[f"{quantity}_high_{level}"] = f"{low:.6g}", f"{high:.6g}"
    if faster is not None:
        row |= {"speedup_over": faster.over, "speedup": f"{faster.value:.6g}"}
        for level, (low, high) in faster.intervals.items():
            row[f"speedup_low_{level}"], row[f"speedup_high_{level}"] = f"{low:.6g}", f"{high:.6g}"
    layout = prediction.layout
    row |= {
        "tensor_parallel_used": str(layout.tensor),
        "pipeline_stages": str(layout.pipeline),
        "replicas": str(layout.replicas),
    }
    return row


def predict_rows(
    rows: Iterable[Mapping[str, str]], source: str, coefficients: Coefficients | None = None
) -> list[dict[str, str]]:
    """The same rows with the columns of the answers; a row that names what is not known gets its message as the reason."""
    given = list(rows)
    queries = [query(row, f"{source}, line {number}") for number, row in enumerate(given, start=2)]
    answers = _answers(queries, coefficients)
    faster = speedups(answers, coefficients or shipped())
    return [{**row, **answer_row(a, f)} for row, a, f in zip(given, answers, faster, strict=True)]


def _answers(queries: list[Query], coefficients: Coefficients | None) -> list[Prediction]:
    try:
        return predict_many(queries, coefficients)
    except UserError:
        return [_answer_alone(query, coefficients) for query in queries]


def _answer_alone(query: Query, coefficients: Coefficients | None) -> Prediction:
    try:
        return predict_many([query], coefficients)[0]
    except UserError as error:
        return Prediction(query=query, reason=str(error))


def predict_points(csv_in: Path, csv_out: Path, coefficients: Coefficients | None = None) -> int:
    """Predict every row of `csv_in` and write the rows with the answers to `csv_out`; returns the number of rows.

    Columns in: model, format, hardware, count, prompt_tokens, output_tokens, concurrency (a number or `max`), optionally
    tensor_parallel and engine; others are kept. Times in seconds, rates in requests a second; `speedup` (of the latency, or of
    the highest rate) is over the row that asks the same of a 16-bit format, where the file has one.
    """
    rows = read_rows(csv_in)
    if not rows:
        raise UserError(f"{csv_in}: no rows", remedy=f"give a header with {', '.join(INPUTS)} and one row a point")
    answers = predict_rows(rows, str(csv_in), coefficients)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys([*rows[0], *OUTPUTS])), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(answers)
    csv_out.write_text(stream.getvalue(), encoding="utf-8")
    return len(rows)
