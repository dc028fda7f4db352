"""The verbs `predict` and `calibrate`, over the predictor, the price list and the stores of studies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.api.arguments import overrides_of, parse_workload
from whichbits.core.errors import UserError
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.prediction.model.coefficients import Coefficients
    from whichbits.prediction.model.solve import Limits
    from whichbits.prediction.predictor import Prediction
    from whichbits.prediction.ratios import Speedup
    from whichbits.serving.workload import Workload
    from whichbits.studies.store.manifest import Ledger

Rows = list[dict[str, Any]]


class Span(tuple[float, float]):
    """An interval: a pair in JSON, `low – high` to people."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self[0]:.3g} – {self[1]:.3g}"


def _span(bounds: tuple[float, float]) -> Span:
    return Span(bound for bound in bounds)


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
    from whichbits.prediction.model.coefficients import load as load_coefficients
    from whichbits.prediction.model.coefficients import shipped

    question = {"model": model, "format": format, "hardware": hardware, "count": count, "workload": workload}
    load = {"concurrency": concurrency, "rate": rate, "tensor-parallel": tensor_parallel}
    limits = {"max-ttft": max_ttft, "max-tpot": max_tpot, "max-latency": max_latency}
    if points is not None:
        from whichbits.prediction.batch import predict_points

        _refuse_beside(
            "--points", question | load | limits | {"engine": engine != "vllm", "price": price, "all-hardware": all_hardware}
        )
        if out is None:
            raise UserError("out: is missing", remedy="name the CSV for the answers: --out OUT.csv")
        rows, answered = predict_points(points, out, load_coefficients(coefficients) if coefficients else shipped())
        return [{"rows": rows, "answered": answered, "written": str(out)}]
    if out is not None:
        raise UserError("out: is for answers to --points", remedy="use --json for the answer to one question")
    missing = [f"--{name}" for name, value in (("model", model), ("workload", workload)) if not value]
    if missing or not (hardware or all_hardware):
        raise UserError(f"{', '.join(missing) or '--hardware'}: is missing", remedy="see whichbits predict --help")
    known = load_coefficients(coefficients) if coefficients else shipped()
    asked = parse_workload(workload)
    formats = list(format or ("bf16", "w8a8-fp", "w8a8-int", "w4a16-int"))
    hourly = hourly_prices(overrides_of(price))
    within = {name: value for name, value in limits.items() if value is not None}
    if all_hardware or within:
        ranking = "--all-hardware" if all_hardware else f"--{next(iter(within))}"
        _refuse_beside(ranking, load | ({"hardware": hardware} if all_hardware else {}))
        counts = [count] if count is not None else None if all_hardware else [1]
        return _ranking(model, formats, asked, _limits(within), [hardware] if hardware else None, counts, hourly, engine, known)
    from whichbits.hardware.catalogue import find
    from whichbits.prediction.predictor import predict as predict_one
    from whichbits.prediction.ratios import speedups

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
            "engine": answer.engine,
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

    Raises UserError, also for a store whose deployment claims other hardware than the store says the study was measured on.
    """
    from whichbits.prediction.output import check_writable
    from whichbits.prediction.training.calibrate import calibrate as fit

    check_writable("out", Path(out))
    moved = fit(results if Path(results).is_file() else _serving_results(Path(results)))
    moved.save(out)
    return [{"coefficients": str(out), "use": f"whichbits predict --coefficients {out} ..."}]


def hourly_prices(overrides: Mapping[str, float]) -> dict[str, float]:
    """Dollars an hour of one device by its name in the catalogue, where the price list has it."""
    from whichbits.cost.prices import WITHOUT_DEFAULT, prices
    from whichbits.hardware.catalogue import find

    listed = prices("default", overrides)
    return {find(device).name: price.per_hour(1) for device, price in listed.devices.items() if device not in WITHOUT_DEFAULT}


def _predicted(answer: Prediction) -> dict[str, Any]:
    """Each predicted quantity with its 80 % and 95 % interval."""
    from whichbits.prediction.model.tiers import LEVELS

    row: dict[str, Any] = {}
    for quantity in ("latency_s", "ttft_s", "tpot_s", "qps", "queries_per_dollar"):
        spans = answer.intervals.get(quantity) or dict.fromkeys(LEVELS)
        row[quantity] = getattr(answer, quantity)
        row |= {f"{quantity}_{level}": _span(bounds) if bounds else None for level, bounds in spans.items()}
    return row


def _faster(faster: Speedup | None) -> dict[str, Any]:
    """The speed over 16 bit with its intervals."""
    from whichbits.prediction.model.tiers import LEVELS

    spans = faster.intervals if faster else dict.fromkeys(LEVELS)
    shown = {f"speedup_{level}": _span(bounds) if bounds else None for level, bounds in spans.items()}
    return {"speedup": faster.value if faster else None, **shown}


def _limits(given: Mapping[str, float]) -> Limits:
    """Latency limits by the names of their options."""
    from whichbits.prediction.model.solve import Limits

    for name, value in given.items():
        if not 0 < value < float("inf"):
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
    from whichbits.prediction.ranking import COUNTS, rank_hardware

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
                "dollars_per_1000": entry.dollars_per_query * 1000 if entry.dollars_per_query else None,
                "qps": answer.qps if answer else None,
                "qps_80": _span(answer.intervals["qps"][80]) if answer else None,
                "gain": entry.gain.value if entry.gain else None,
                "gain_80": _span(entry.gain.intervals[80]) if entry.gain else None,
                "concurrency": answer.concurrency if answer else None,
                "latency_s": answer.latency_s if answer else None,
                "ttft_s": answer.ttft_s if answer else None,
                "tpot_s": answer.tpot_s if answer else None,
                "engine": entry.engine,
                "provenance": "predicted",
                "tier": answer.tier if answer else None,
                "reason": entry.reason,
            }
        )
    return rows


def _serving_results(folder: Path) -> list[dict[str, str]]:
    """Valid load levels of a study's store as the predictor's rows."""
    from whichbits.studies.store.manifest import read

    ledger = read(folder)
    rows: list[dict[str, str]] = []
    for record in ledger.records(Store(folder)):
        if record.kind != "serve" or record.state != "done":
            continue
        deployment = ledger.deployments[record.labels["deployment"]]
        workload = ledger.workloads[record.labels["workload"]]
        valid = [rung for rung in record.summary["rungs"] if rung["valid"] and rung["concurrency"] is not None]
        if not valid:
            continue
        common = {
            "model": ledger.model,
            "format": ledger.formats[record.labels["candidate"]],
            "hardware": _device(str(deployment["hardware"]), int(deployment["count"]), ledger),
            "count": str(deployment["count"]),
            "prompt_tokens": str(workload["prompt_tokens"]),
            "output_tokens": str(workload["output_tokens"]),
            "engine": _engine(ledger),
        }
        for rung in valid:
            metrics = rung["metrics"]
            means = {name: _cell((metrics[name] or {}).get("mean")) for name in ("latency_s", "ttft_s", "tpot_s")}
            speeds = {**means, "qps": _cell(metrics["requests_per_second"])}
            rows.append({**common, "concurrency": str(rung["concurrency"]), **speeds})
    if not rows:
        raise UserError(f"store: {folder} holds no valid measurement of a speed", remedy="give its study workloads, and run it")
    return rows


def _cell(value: float | None) -> str:
    """A number in a table, or nothing where there is none."""
    return "" if value is None else str(value)


def _engine(ledger: Ledger) -> str:
    """The engine that the study started, with its version. Raises UserError where it started none."""
    version = next((engine["version"] for engine in ledger.engines if engine["name"] == "vLLM"), None)
    if version is None:
        raise UserError(
            "store: its speeds were measured at an address, and what the server ran on is not known here",
            remedy="write the measurements into a CSV that names hardware and engine, and calibrate with that",
        )
    return f"vllm=={version}" if str(version)[:1].isdigit() else "vllm"


def _device(claimed: str, count: int, ledger: Ledger) -> str:
    """The predictor's name of the hardware that a study's deployment claims, where the store says that it was there.

    Raises UserError for a claim that is not what measured: its speeds would be taken for those of the device that it names.
    """
    from whichbits.hardware.catalogue import find, normalized
    from whichbits.hardware.machine import describe

    present = dict(_accelerators(ledger.hardware))
    if claimed == "this-machine" and len(present) == 1:
        claimed = next(iter(present))
    if normalized(claimed) in ("cpu", "thismachine") and not present:
        if describe().kind == ledger.hardware and not describe().gpus:
            return "cpu"
        raise UserError(
            f"deployment.hardware: the study was measured on {ledger.hardware}, which is not the processor here",
            remedy="calibrate on that machine",
        )
    device = find(claimed) if claimed != "this-machine" else None
    for name, number in present.items():
        try:
            found = find(name).id
        except UserError:  # a device that the catalogue does not know is none that a study can claim
            continue
        if device is not None and found == device.id and number >= count:
            return device.name
    raise UserError(
        f"deployment.hardware: claims {count} × {claimed}, and the study was measured on {ledger.hardware}",
        remedy="set hardware (an id of `whichbits hardware`) and count to what measured it, and run the study again",
    )


def _accelerators(kind: str) -> list[tuple[str, int]]:
    """Names and numbers of the accelerators of a machine, as the store has them: `2 × NVIDIA L4 + 1 × NVIDIA A10`."""
    parts = [re.fullmatch(r"([0-9]+) × (.+)", part) for part in kind.split(" + ")]
    return [(part[2], int(part[1])) for part in parts if part]
