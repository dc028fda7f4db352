"""The command `predict`: which question its options ask, and the answers as rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import whichbits
from whichbits.cli.options import AsJson, Prices
from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.api.predict import FormatPrediction
    from whichbits.prediction.ranking import Ranked

Row = dict[str, Any]


class Span(tuple[float, float]):
    """An interval: a pair in JSON, `low – high` to people."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self[0]:.3g} – {self[1]:.3g}"


def predict(
    model: Annotated[str, typer.Option(help="Hub id, or folder with config.json; required.")] = "",
    format: Annotated[
        list[str] | None, typer.Option("--format", help="Format; repeatable; default: bf16, w8a8-fp, w8a8-int and w4a16-int.")
    ] = None,
    hardware: Annotated[
        str, typer.Option(help="Device, e.g. L40S (see whichbits hardware); this or --all-hardware is required.")
    ] = "",
    count: Annotated[
        int | None, typer.Option(help="Number of devices; default: 1, or 1, 2, 4 and 8 with --all-hardware.")
    ] = None,
    workload: Annotated[str, typer.Option(help="Workload by name (rag, ...), or PROMPT/OUTPUT tokens; required.")] = "",
    concurrency: Annotated[
        str | None, typer.Option(help="Requests in flight, or max for the highest rate; default: 1.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second, in place of --concurrency.")] = None,
    tensor_parallel: Annotated[int | None, typer.Option(help="Devices that share one copy of the model; default: all.")] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="vllm, trtllm or sglang, with a version as in vllm==0.12.0; each answer says which version was measured."
        ),
    ] = "vllm",
    price: Prices = None,
    max_ttft: Annotated[float | None, typer.Option(help="Limit in seconds on the mean time to the first token.")] = None,
    max_tpot: Annotated[float | None, typer.Option(help="Limit in seconds on the mean time per output token.")] = None,
    max_latency: Annotated[float | None, typer.Option(help="Limit in seconds on the mean latency.")] = None,
    all_hardware: Annotated[
        bool, typer.Option("--all-hardware", help="Rank all hardware by the cost of a query within the limits.")
    ] = False,
    points: Annotated[
        Path | None, typer.Option(help="CSV of questions, in place of the options above (docs/predict.md).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV for their answers, with --points.")] = None,
    coefficients: Annotated[Path | None, typer.Option(help="What whichbits calibrate wrote.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict speed and cost on other hardware.

    Every answer has intervals, and says how far it is from what was measured.
    """
    from whichbits.cli.tables import console, print_results, print_rows

    question = {"model": model, "format": format, "hardware": hardware, "count": count, "workload": workload}
    load = {"concurrency": concurrency, "rate": rate, "tensor-parallel": tensor_parallel}
    limits = {"max-ttft": max_ttft, "max-tpot": max_tpot, "max-latency": max_latency}
    if points is not None:
        elsewhere = {"engine": engine != "vllm", "price": price, "all-hardware": all_hardware}
        _refuse_with("--points", question | load | limits | elsewhere)
        if out is None:
            raise UserError("out: is missing", remedy="name the CSV for the answers: --out OUT.csv")
        print_results([whichbits.predict_points(points, out, coefficients=coefficients)], as_json)
        return
    if out is not None:
        raise UserError("out: is for answers to --points", remedy="use --json for the answer to one question")
    missing = [f"--{name}" for name, value in (("model", model), ("workload", workload)) if not value]
    if missing or not (hardware or all_hardware):
        raise UserError(f"{', '.join(missing) or '--hardware'}: is missing", remedy="see whichbits predict --help")
    limit = next((f"--{name}" for name, value in limits.items() if value is not None), None)
    if all_hardware or limit:
        _refuse_with("--all-hardware" if all_hardware else str(limit), load | ({"hardware": hardware} if all_hardware else {}))
        ranked = whichbits.rank_hardware(
            model, workload=workload, format=format, hardware=hardware or None,
            count=count if all_hardware or count is not None else 1, max_ttft=max_ttft, max_tpot=max_tpot,
            max_latency=max_latency, engine=engine, price=price, coefficients=coefficients,
        )  # fmt: skip
        if as_json:
            print_results([_ranked_row(entry) for entry in ranked], as_json)
            return
        print_rows([_ranked_row(entry) for entry in ranked if entry.prediction is not None])
        without = sum(entry.prediction is None for entry in ranked)
        if without:
            console().print(f"{without} of {len(ranked)} deployments have no answer; --json says why.")
        return
    answers = whichbits.predict(
        model, hardware=hardware, workload=workload, format=format, count=1 if count is None else count,
        concurrency=concurrency, rate=rate, tensor_parallel=tensor_parallel, engine=engine, price=price,
        coefficients=coefficients,
    )  # fmt: skip
    rows = [_row(answer) for answer in answers]
    if as_json:
        print_results(rows, as_json)
    else:
        # One column a format reads better than twenty columns.
        names = list(rows[0])
        print_rows([{"": name.replace("_", " "), **{row["format"]: row[name] for row in rows}} for name in names[1:]])


def _refuse_with(option: str, others: Mapping[str, Any]) -> None:
    """Raise UserError where any of `others` is given, since it would change nothing."""
    given = [f"--{name}" for name, value in others.items() if value not in (None, "", False)]
    if given:
        raise UserError(f"{option} and {', '.join(given)} are both given", remedy=f"leave {', '.join(given)} out, or {option}")


def _spans(name: str, intervals: Mapping[int, tuple[float, float]] | None) -> Row:
    """The 80 % and 95 % interval of a quantity; None where there are none."""
    from whichbits.prediction.model.tiers import LEVELS

    return {f"{name}_{level}": Span(intervals[level]) if intervals else None for level in LEVELS}


def _row(answer: FormatPrediction) -> Row:
    found = answer.prediction
    row: Row = {"format": found.query.format}
    for quantity in ("latency_s", "ttft_s", "tpot_s", "qps", "queries_per_dollar"):
        row |= {quantity: getattr(found, quantity), **_spans(quantity, found.intervals.get(quantity))}
    speedup = answer.speedup
    row |= {"speedup": speedup.value if speedup else None, **_spans("speedup", speedup.intervals if speedup else None)}
    row |= {"engine": found.engine, "engine_measured": found.engine_measured}
    return row | {"provenance": found.provenance, "tier": found.tier, "reason": found.reason}


def _ranked_row(entry: Ranked) -> Row:
    found = entry.prediction
    return {
        "hardware": entry.hardware,
        "count": entry.count,
        "format": entry.format,
        "dollars_per_1000": entry.dollars_per_query * 1000 if entry.dollars_per_query else None,
        "qps": found.qps if found else None,
        "qps_80": Span(found.intervals["qps"][80]) if found else None,
        "gain": entry.gain.value if entry.gain else None,
        "gain_80": Span(entry.gain.intervals[80]) if entry.gain else None,
        "concurrency": found.concurrency if found else None,
        "latency_s": found.latency_s if found else None,
        "ttft_s": found.ttft_s if found else None,
        "tpot_s": found.tpot_s if found else None,
        "engine": entry.engine,
        "engine_measured": found.engine_measured if found else None,
        "provenance": "predicted",
        "tier": found.tier if found else None,
        "reason": entry.reason,
    }
