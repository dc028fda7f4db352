"""`whichbits predict`: speed and cost on hardware that is not available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import overrides_of, parse_workload
from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.prediction.model.coefficients import Coefficients
    from whichbits.prediction.predictor import Prediction
    from whichbits.prediction.ranking import Ranked
    from whichbits.prediction.ratios import Speedup

FORMATS = ("bf16", "w8a8-fp", "w8a8-int", "w4a16-int")
"""Those that are predicted where none is named."""


@dataclass(frozen=True)
class FormatPrediction:
    """What is predicted of one format."""

    prediction: Prediction
    """Latency, rate and cost with their intervals; or the reason why there is no answer."""
    speedup: Speedup | None
    """How many times as fast as 16 bit; None where 16 bit was not asked for, or one of the two has no answer."""


@dataclass(frozen=True)
class AnsweredPoints:
    """How many rows a file of questions has, how many of them were answered, and where the answers are."""

    rows: int
    answered: int
    written: Path


def predict(
    model: str,
    *,
    hardware: str,
    workload: str,
    format: Sequence[str] | None = None,
    count: int = 1,
    concurrency: int | str | None = None,
    rate: float | None = None,
    tensor_parallel: int | None = None,
    engine: str = "vllm",
    price: Sequence[str] | None = None,
    coefficients: Path | None = None,
) -> tuple[FormatPrediction, ...]:
    """Predict latency, rate and cost of each format on `count` devices.

    `model` is a hub id or a folder with config.json; `workload` a name, or PROMPT/OUTPUT tokens; `format` the usual four
    unless given. `concurrency` is the number of requests in flight (1 unless given), or `max` for the highest rate; `rate` is
    requests a second in its place. `tensor_parallel` devices share one copy of the model. `price` holds DEVICE=USD_PER_HOUR;
    `coefficients` is a file that `calibrate` wrote. Raises UserError.
    """
    from whichbits.hardware.catalogue import find
    from whichbits.prediction.predictor import predict as predict_one
    from whichbits.prediction.ratios import speedups

    asked, known, device = parse_workload(workload), _coefficients(coefficients), find(hardware)
    hourly = hourly_prices(overrides_of(price))
    answers = [
        predict_one(
            model,
            name,
            hardware,
            count,
            prompt_tokens=asked.mean_prompt_tokens,
            output_tokens=asked.mean_output_tokens,
            concurrency=concurrency,
            rate=rate,
            tensor_parallel=tensor_parallel,
            engine=engine,
            price_per_hour=hourly[device.name] * count if device.name in hourly else None,
            coefficients=known,
        )
        for name in format or FORMATS
    ]
    return tuple(map(FormatPrediction, answers, speedups(answers, known)))


def rank_hardware(
    model: str,
    *,
    workload: str,
    format: Sequence[str] | None = None,
    hardware: str | None = None,
    count: int | None = None,
    max_ttft: float | None = None,
    max_tpot: float | None = None,
    max_latency: float | None = None,
    engine: str = "vllm",
    price: Sequence[str] | None = None,
    coefficients: Path | None = None,
) -> tuple[Ranked, ...]:
    """Rank deployments by the cost of a query, each at its largest load within the limits, else at its highest rate.

    Limits are in seconds and on means. Deployments are all `hardware` in all usual counts, or the one device and count that
    are named. Other arguments as for `predict`. Raises UserError.
    """
    from whichbits.prediction.model.solve import MeanLimits
    from whichbits.prediction.ranking import COUNTS
    from whichbits.prediction.ranking import rank_hardware as rank

    asked = parse_workload(workload)
    limits = {"ttft_s": max_ttft, "tpot_s": max_tpot, "latency_s": max_latency}
    within = {name: value for name, value in limits.items() if value is not None}
    for name, value in within.items():
        if not 0 < value < float("inf"):
            raise UserError(f"max_{name.removesuffix('_s')}: {value:g} is not a positive number", remedy="give seconds")
    return tuple(
        rank(
            model,
            prompt_tokens=asked.mean_prompt_tokens,
            output_tokens=asked.mean_output_tokens,
            limits=MeanLimits(**within),
            formats=list(format or FORMATS),
            hardware=[hardware] if hardware else None,
            counts=COUNTS if count is None else [count],
            prices=hourly_prices(overrides_of(price)),
            engine=engine,
            coefficients=_coefficients(coefficients),
        )
    )


def predict_points(points: Path, out: Path, *, coefficients: Path | None = None) -> AnsweredPoints:
    """Answer a CSV of questions, a row each, in the CSV `out`; a row that cannot be answered says why. Raises UserError."""
    from whichbits.prediction.batch import predict_points as answer

    rows, answered = answer(points, out, _coefficients(coefficients))
    return AnsweredPoints(rows, answered, Path(out))


def _coefficients(file: Path | None) -> Coefficients:
    from whichbits.prediction.model.coefficients import load, shipped

    return load(file) if file else shipped()


def hourly_prices(overrides: Mapping[str, float]) -> dict[str, float]:
    """Dollars an hour of one device by its name in the catalogue, where the price list has it."""
    from whichbits.cost.prices import WITHOUT_DEFAULT, prices
    from whichbits.hardware.catalogue import find

    listed = prices("default", overrides)
    return {find(device).name: price.per_hour(1) for device, price in listed.devices.items() if device not in WITHOUT_DEFAULT}
