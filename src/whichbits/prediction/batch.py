"""Many predictions from a table to a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.prediction.model.coefficients import Coefficients, shipped
from whichbits.prediction.model.tiers import LEVELS
from whichbits.prediction.output import check_writable, write_whole
from whichbits.prediction.predictor import Prediction, Resolved, answer, resolve
from whichbits.prediction.query import COLUMNS, SURPLUS, question, read_rows
from whichbits.prediction.ratios import Speedup, speedups

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
    "engine_used",
    "engine_measured",
    "tier",
    "provenance",
    "reason",
)


def answer_row(prediction: Prediction, faster: Speedup | None) -> dict[str, str]:
    """The columns of an answer and of its speed over 16 bit, empty where there is none."""
    row = _without_answer(prediction.reason or "")
    if prediction.layout is None:
        return row
    row["tier"] = prediction.tier or ""
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
        "engine_used": prediction.engine or "",
        "engine_measured": prediction.engine_measured or "",
    }
    return row


def _without_answer(reason: str) -> dict[str, str]:
    return dict.fromkeys(OUTPUTS, "") | {"provenance": "predicted", "reason": reason}


def predict_rows(rows: Iterable[Mapping[str, str]], coefficients: Coefficients | None = None) -> list[dict[str, str]]:
    """The rows with the columns of the answers; one that cannot be read, or names what is not known, says so in `reason`."""
    known, given = coefficients or shipped(), list(rows)
    asked = [_resolved(row, known) for row in given]
    answers = answer([found for found in asked if isinstance(found, Resolved)], known)
    answered = iter([answer_row(a, faster) for a, faster in zip(answers, speedups(answers, known), strict=True)])
    return [
        {**_kept(row), **(next(answered) if isinstance(found, Resolved) else _without_answer(found))}
        for row, found in zip(given, asked, strict=True)
    ]


def _kept(row: Mapping[str, str]) -> dict[str, str]:
    return {name: cell for name, cell in row.items() if name != SURPLUS}


def _resolved(row: Mapping[str, str], known: Coefficients) -> Resolved | str:
    """The row's question, looked up, or why there is none."""
    try:
        return resolve(question(row), known)
    except UserError as error:
        return str(error)


def predict_points(csv_in: Path, csv_out: Path, coefficients: Coefficients | None = None) -> tuple[int, int]:
    """Predict every row of `csv_in` and write the rows with the answers to `csv_out`; returns the numbers of rows and answers.

    Columns in: model, format, hardware, count, prompt_tokens, output_tokens, concurrency (a number or `max`), optionally
    tensor_parallel and engine; others are kept. Times in seconds, rates in requests a second; `speedup` (of the latency, or of
    the highest rate) is over the row that asks the same of a 16-bit format, where the file has one.
    A row that cannot be read, or names what is not known, says so in `reason`. Raises UserError for a file that cannot be read,
    one without rows or one of the columns, and, before anything is computed, for one that cannot be written.
    """
    if csv_out.resolve() == csv_in.resolve():
        raise UserError(f"out: {csv_out} is the file of questions, which would be lost", remedy="name another file")
    check_writable("out", csv_out)
    rows = read_rows(csv_in)
    if not rows:
        raise UserError(f"{csv_in}: no rows", remedy=f"give a header with {', '.join(COLUMNS)} and one row a point")
    missing = [name for name in COLUMNS if name not in rows[0]]
    if missing:
        raise UserError(f"{csv_in}: has no column {', '.join(missing)}", remedy=f"the header needs {', '.join(COLUMNS)}")
    answers = predict_rows(rows, coefficients)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys([*_kept(rows[0]), *OUTPUTS])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(answers)
    write_whole("out", csv_out, stream.getvalue())
    return len(rows), sum(bool(row["latency_s"]) for row in answers)
