"""Fitting: known coefficients come back, outliers do not pull, and the published bars hold."""

from dataclasses import replace

import numpy as np
import pytest

from whichbits.core.errors import UserError
from whichbits.prediction.model.coefficients import Coefficients, load, priors, shipped
from whichbits.prediction.model.naive_roofline import naive
from whichbits.prediction.predictor import predict
from whichbits.prediction.training.calibrate import calibrate, calibrate_measurements
from whichbits.prediction.training.figures import better_rate, fastest_format
from whichbits.prediction.training.fit import batch, errors, fit, lay_out, predicted
from whichbits.prediction.training.folds import in_sample, leave_out, pooled, ratio_errors, ratio_errors_to_16_bit
from whichbits.prediction.training.measurements import Measurement, published


@pytest.fixture(scope="module")
def latencies() -> list[Measurement]:
    return [m for m in published() if m.load == "synchronous"]


def as_if(measurements: list[Measurement], values: dict[str, float]) -> list[Measurement]:
    """The measurements with what the model itself says under `values`."""
    cases = lay_out(measurements, values)
    y = predicted(batch(cases), values)
    return [replace(m, value=float(v), low=float(v), high=float(v)) for m, v in zip(measurements, y, strict=True)]


def test_a_known_world_is_learned(latencies: list[Measurement]) -> None:
    truth = dict(priors().values) | {"memory_efficiency": 0.78, "layer_cycles.vllm": 90000.0, "quantize_cycles": 60000.0}
    world = as_if(latencies, truth)
    before = np.abs(errors(lay_out(world, priors().values), priors().values))
    learned = fit(world)
    after = np.abs(errors(lay_out(world, learned.values), learned.values))
    assert np.median(before) > 0.05
    assert np.quantile(after, 0.9) < 0.012


def test_a_few_wild_cells_do_not_pull(latencies: list[Measurement]) -> None:
    world = as_if(latencies, dict(shipped().values))
    wild = [replace(m, value=3 * m.value) if i % 20 == 0 else m for i, m in enumerate(world)]
    learned = fit(wild, shipped())
    assert np.median(np.abs(errors(lay_out(world, learned.values), learned.values))) < 0.02


def test_calibrating_helps_the_measured_device_and_is_kept_in_a_file(latencies: list[Measurement], tmp_path) -> None:
    slow = {**shipped().values, "device.nvidia-a6000.memory": 0.7}
    world = as_if([m for m in latencies if m.hardware.name == "A6000"], slow)
    learned = calibrate_measurements(world[:5])
    before, after = (np.median(np.abs(errors(lay_out(world[5:], c.values), c.values))) for c in (shipped(), learned))
    assert before > 0.2
    assert after < 0.06
    learned.save(tmp_path / "mine.json")
    assert load(tmp_path / "mine.json") == learned
    older = {name: value for name, value in learned.values.items() if name != "overlap"}
    replace(learned, values=older).save(tmp_path / "older.json")
    with pytest.raises(UserError, match="lacks overlap"):
        load(tmp_path / "older.json")


def test_a_device_that_the_model_fits_badly_gets_wider_intervals(latencies: list[Measurement]) -> None:
    here = [m for m in latencies if m.hardware.name == "A6000" and m.kernel.format != "w8a8-int"]
    fair = as_if(here, dict(shipped().values))
    odd = [
        replace(m, value=2 * m.value) if m.kernel.format == "bf16" else m for m in fair
    ]  # 4 bits gain far more than they can

    def width(known: Coefficients | None, hardware: str = "A6000") -> float:
        low, high = predict(
            "meta-llama/Llama-3.1-8B-Instruct", "bf16", hardware, prompt_tokens=333, output_tokens=128, coefficients=known
        ).intervals["latency_s"][80]
        return float(np.log(high / low))

    assert width(calibrate_measurements(fair)) == pytest.approx(width(None))
    inflated = calibrate_measurements(odd)
    off = np.abs(errors(lay_out(odd, inflated.values), inflated.values))
    assert np.mean(off <= width(inflated) / 2) == pytest.approx(0.8, abs=0.03)
    assert width(inflated) > 2 * width(None)
    assert width(inflated, "H100") == pytest.approx(width(None, "H100"))


def test_calibrate_reads_rows() -> None:
    row = {
        "model": "meta-llama/Llama-3.1-8B-Instruct", "format": "bf16", "hardware": "L4", "count": "1", "prompt_tokens": "256",
        "output_tokens": "128", "concurrency": "1", "latency_s": "9.0",
    }  # fmt: skip
    learned = calibrate([row])
    assert isinstance(learned, Coefficients)
    assert any(entry[1] == "nvidia-l4" for entry in learned.support)
    assert learned.values["device.nvidia-l4.memory"] != 1.0


@pytest.mark.parametrize(
    ("cell", "value", "why"),
    [
        ("hardware", "H900", "H900"),
        ("format", "w3a3", "w3a3"),
        ("count", "0", "count: 0"),
        ("latency_s", "soon", "latency_s: 'soon'"),
        ("latency_s", "-1", "latency_s: '-1'"),
        ("latency_s", "", "no measured value"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused_by_line(cell: str, value: str, why: str) -> None:
    row = {
        "model": "meta-llama/Llama-3.1-8B-Instruct", "format": "bf16", "hardware": "L4", "count": "1", "prompt_tokens": "256",
        "output_tokens": "128", "concurrency": "1", "latency_s": "9.0",
    }  # fmt: skip
    with pytest.raises(UserError, match=why) as raised:
        calibrate([{**row, cell: value}])
    assert "line 2" in str(raised.value) or not value


def sizes(e: np.ndarray) -> tuple[float, float]:
    return float(np.median(np.abs(np.exp(e) - 1))), float(np.quantile(np.abs(np.exp(e) - 1), 0.9))


def test_the_shipped_coefficients_meet_the_bars_in_sample() -> None:
    seen = in_sample(published(), shipped())
    median, ninth = sizes(seen.select("synchronous", "latency_s"))
    assert median <= 0.035
    assert ninth <= 3 * 0.035
    assert sizes(seen.select("max", "qps", "paper"))[0] <= 0.10
    median, ninth = sizes(seen.select("max", "qps"))
    assert median <= 0.06
    assert ninth <= 0.25
    assert sizes(ratio_errors_to_16_bit([seen]))[0] <= 0.05
    median, ninth = sizes(ratio_errors([seen], "synchronous"))
    assert median <= 0.06
    assert ninth <= 0.15
    assert fastest_format([seen]).model == 1.0
    assert better_rate([seen], "paper").model >= 0.90


def test_leaving_out_a_model_or_a_device_meets_the_bars() -> None:
    # On the published tables alone, so that it needs no other file; docs/validation.md has the figures with all sources.
    measurements = published()
    models, devices = leave_out(measurements, "model"), leave_out(measurements, "device")
    for folds, latency_bar, rate_bar in ((models, 0.05, 0.15), (devices, 0.10, 0.20)):
        median, ninth = sizes(pooled(folds, "synchronous", "latency_s"))
        assert median <= latency_bar
        assert ninth <= 3 * latency_bar
        assert sizes(pooled(folds, "max", "qps", "paper"))[0] <= rate_bar
        median, ninth = sizes(pooled(folds, "max", "qps"))
        assert median <= 0.11
        assert ninth <= 0.35
        assert sizes(ratio_errors_to_16_bit(folds))[0] <= 0.06
        assert fastest_format(folds).model == 1.0
        median, ninth = sizes(ratio_errors(folds, "synchronous"))
        assert median <= 0.06
        assert ninth <= 0.15
        assert better_rate(folds, "paper").model >= 0.90


def test_the_naive_roofline_is_far_worse(latencies: list[Measurement]) -> None:
    cases = lay_out(latencies, shipped().values)
    assert sizes(naive(cases))[0] > 5 * sizes(errors(cases, shipped().values))[0]
