"""The verbs `predict` and `calibrate`, over the predictor, the price list and the stores of studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.errors import UserError
from whichbits.study.store import Store
from whichbits.values import overrides_of, parse_workload, short

if TYPE_CHECKING:
    from whichbits.predict.coefficients import Coefficients
    from whichbits.predict.predictor import Prediction
    from whichbits.predict.ratios import Speedup
    from whichbits.predict.solve import Limits
    from whichbits.serving.workload import Workload

Rows = list[dict[str, Any]]


class Span(tuple[float, float]):
    """An interval: a pair in JSON, `low – high` to people."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self[0]:.3g} – {self[1]:.3g}"


def _span(bounds: tuple[float, float]) -> Span:
    return Span(short(bound) for bound in bounds)


def predict(
    model: str = "",
    format: Sequence[str] | None = None,
    hardware: str = "",
    *,
    count: int | None = None,
    workload: str = "",
    concurrency: str | None = None,
    rate: float | None = None,
    tensor_parallel: int | None = None,
    engine: str = "vllm",
    price: Sequence[str] | None = None,
    max_ttft: float | None = None,
    max_tpot: float | None = None,
    max_latency: float | None = None,
    all_hardware: bool = False,
    points: Path | None = None,
    out: Path | None = None,
    coefficients: Path | None = None,
) -> Rows:
    """Predict latency, rate and cost on hardware that is not at hand: a row a format, or a deployment where they are ranked.

    `workload` is a name or PROMPT/OUTPUT tokens; `count` and `concurrency` (a number or `max`) are 1 unless given.
    `all_hardware` ranks all hardware by the cost of a query, each deployment at its largest load within the limits `max_ttft`,
    `max_tpot` and `max_latency` (seconds, of means), else at its highest rate; limits alone rank the formats on one deployment.
    `points` is a CSV of questions that is answered in the CSV `out`; `coefficients` are those that `calibrate` wrote.
    Raises UserError, also for arguments that say nothing beside others.
    """
    from whichbits.predict.coefficients import load as load_coefficients
    from whichbits.predict.coefficients import shipped

    known = load_coefficients(coefficients) if coefficients else shipped()
    question = {"model": model, "format": format, "hardware": hardware, "count": count, "workload": workload}
    load = {"concurrency": concurrency, "rate": rate, "tensor-parallel": tensor_parallel}
    limits = {"max-ttft": max_ttft, "max-tpot": max_tpot, "max-latency": max_latency}
    if points is not None:
        from whichbits.predict.batch import predict_points

        _refuse_beside(
            "--points", question | load | limits | {"engine": engine != "vllm", "price": price, "all-hardware": all_hardware}
        )
        if out is None:
            raise UserError("out: is missing", remedy="name the CSV for the answers: --out OUT.csv")
        rows, answered = predict_points(points, out, known)
        return [{"rows": rows, "answered": answered, "written": str(out)}]
    if out is not None:
        raise UserError("out: is for answers to --points", remedy="use --json for the answer to one question")
    missing = [f"--{name}" for name, value in (("model", model), ("workload", workload)) if not value]
    if missing or not (hardware or all_hardware):
        raise UserError(f"{', '.join(missing) or '--hardware'}: is missing", remedy="see whichbits predict --help")
    asked = parse_workload(workload)
    formats = list(format or ("bf16", "w8a8-fp", "w8a8-int", "w4a16-int"))
    hourly = hourly_prices(overrides_of(price))
    within = {name: value for name, value in limits.items() if value is not None}
    if all_hardware or within:
        ranking = "--all-hardware" if all_hardware else f"--{next(iter(within))}"
        _refuse_beside(ranking, load | ({"hardware": hardware} if all_hardware else {}))
        counts = [count] if count is not None else None if all_hardware else [1]
        return _ranking(model, formats, asked, _limits(within), [hardware] if hardware else None, counts, hourly, engine, known)
    from whichbits.cost.hardware import find
    from whichbits.predict.predictor import predict as predict_one
    from whichbits.predict.ratios import speedups

    device, count = find(hardware), 1 if count is None else count
    answers = [
        predict_one(
            model,
            name,
            hardware,
            count,
            prompt_tokens=asked.prompt_tokens,
            output_tokens=asked.output_tokens,
            concurrency=concurrency,
            rate=rate,
            tensor_parallel=tensor_parallel,
            engine=engine,
            price_per_hour=hourly[device.name] * count if device.name in hourly else None,
            coefficients=known,
        )
        for name in formats
    ]
    return [
        {
            "format": answer.query.format,
            **_predicted(answer),
            **_faster(faster),
            "provenance": answer.provenance,
            "tier": answer.tier,
            "reason": answer.reason,
        }
        for answer, faster in zip(answers, speedups(answers, known), strict=True)
    ]


def _refuse_beside(option: str, others: Mapping[str, Any]) -> None:
    """Raise UserError where any of `others` is given, since it would change nothing."""
    given = [f"--{name}" for name, value in others.items() if value not in (None, "", False)]
    if given:
        raise UserError(f"{option} and {', '.join(given)} are both given", remedy=f"leave {', '.join(given)} out, or {option}")


def calibrate(results: Path, out: Path) -> Rows:
    """Move the predictor's coefficients by serving results (a CSV, or a study's store) and write them to `out`.

    Raises UserError.
    """
    from whichbits.predict.calibrate import calibrate as fit

    moved = fit(results if Path(results).is_file() else _serving_results(Path(results)))
    moved.save(out)
    return [{"coefficients": str(out), "use": f"whichbits predict --coefficients {out} ..."}]


def hourly_prices(overrides: Mapping[str, float]) -> dict[str, float]:
    """Dollars an hour of one device by its name in the catalogue, where the price list has it."""
    from whichbits.cost.hardware import find
    from whichbits.cost.prices import WITHOUT_DEFAULT, prices

    listed = prices("default", overrides)
    return {find(device).name: price.per_hour(1) for device, price in listed.devices.items() if device not in WITHOUT_DEFAULT}


def _predicted(answer: Prediction) -> dict[str, Any]:
    """Each predicted quantity with its 80 % and 95 % interval."""
    from whichbits.predict.tiers import LEVELS

    row: dict[str, Any] = {}
    for quantity in ("latency_s", "ttft_s", "tpot_s", "qps", "queries_per_dollar"):
        spans = answer.intervals.get(quantity) or dict.fromkeys(LEVELS)
        row[quantity] = short(getattr(answer, quantity))
        row |= {f"{quantity}_{level}": _span(bounds) if bounds else None for level, bounds in spans.items()}
    return row


def _faster(faster: Speedup | None) -> dict[str, Any]:
    """The speed over 16 bit with its intervals."""
    from whichbits.predict.tiers import LEVELS

    spans = faster.intervals if faster else dict.fromkeys(LEVELS)
    shown = {f"speedup_{level}": _span(bounds) if bounds else None for level, bounds in spans.items()}
    return {"speedup": short(faster.value) if faster else None, **shown}


def _limits(given: Mapping[str, float]) -> Limits:
    """Latency limits by the names of their options."""
    from whichbits.predict.solve import Limits

    for name, value in given.items():
        if not value > 0:
            raise UserError(f"--{name}: {value:g} is not a positive number", remedy="give seconds")
    return Limits(**{f"{name.removeprefix('max-')}_s": value for name, value in given.items()})


def _ranking(
    model: str,
    formats: Sequence[str],
    asked: Workload,
    limits: Limits,
    hardware: Sequence[str] | None,
    counts: Sequence[int] | None,
    hourly: Mapping[str, float],
    engine: str,
    known: Coefficients,
) -> Rows:
    """Deployments by the cost of a query within latency limits."""
    from whichbits.predict.ranking import COUNTS, rank_hardware

    rows: Rows = []
    for entry in rank_hardware(
        model,
        prompt_tokens=asked.prompt_tokens,
        output_tokens=asked.output_tokens,
        limits=limits,
        formats=formats,
        hardware=hardware,
        counts=counts or COUNTS,
        prices=hourly,
        engine=engine,
        coefficients=known,
    ):
        answer = entry.prediction
        rows.append(
            {
                "hardware": entry.hardware,
                "count": entry.count,
                "format": entry.format,
                "dollars_per_1000": short(entry.dollars_per_query * 1000) if entry.dollars_per_query else None,
                "qps": short(answer.qps) if answer else None,
                "qps_80": _span(answer.intervals["qps"][80]) if answer else None,
                "gain": short(entry.gain.value) if entry.gain else None,
                "gain_80": _span(entry.gain.intervals[80]) if entry.gain else None,
                "concurrency": short(answer.concurrency) if answer else None,
                "latency_s": short(answer.latency_s) if answer else None,
                "ttft_s": short(answer.ttft_s) if answer else None,
                "tpot_s": short(answer.tpot_s) if answer else None,
                "provenance": "predicted",
                "tier": answer.tier if answer else None,
                "reason": entry.reason,
            }
        )
    return rows


def _serving_results(folder: Path) -> list[dict[str, str]]:
    """Valid rungs of a study's store as the predictor's rows."""
    from whichbits.study.ledger import read

    ledger = read(folder)
    rows = []
    for record in ledger.records(Store(folder)):
        if record.kind != "serve" or record.state != "done":
            continue
        deployment = ledger.deployments[record.labels["deployment"]]
        workload = ledger.workloads[record.labels["workload"]]
        for rung in record.summary["rungs"]:
            metrics = rung["metrics"]
            if not rung["valid"] or rung["concurrency"] is None:
                continue
            rows.append(
                {
                    "model": ledger.model,
                    "format": ledger.formats[record.labels["candidate"]],
                    "hardware": _device(deployment["hardware"], ledger.hardware),
                    "count": str(deployment["count"]),
                    "prompt_tokens": str(workload["prompt_tokens"]),
                    "output_tokens": str(workload["output_tokens"]),
                    "concurrency": str(rung["concurrency"]),
                    **{name: _cell((metrics[name] or {}).get("mean")) for name in ("latency_s", "ttft_s", "tpot_s")},
                    "qps": _cell(metrics["requests_per_second"]),
                }
            )
    if not rows:
        raise UserError(f"store: {folder} holds no valid measurement of a speed", remedy="give its study workloads, and run it")
    return rows


def _cell(value: float | None) -> str:
    """A number in a table, or nothing where there is none."""
    return "" if value is None else str(value)


def _device(named: str, measured_on: str) -> str:
    """The predictor's name of a study's hardware: as its specification has it, or this processor where the study ran on it."""
    if named != "this-machine":
        return named
    from whichbits.engines.hardware import describe

    machine = describe()
    if machine.gpus or machine.kind != measured_on:
        raise UserError(
            f"deployment.hardware: the study ran on {measured_on}, which it calls this-machine",
            remedy="name it in the specification by an id of `whichbits hardware` and run the study again",
        )
    return "cpu"
