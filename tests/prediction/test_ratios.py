from pathlib import Path

import numpy as np
import pytest

from whichbits.prediction.batch import predict_rows
from whichbits.prediction.model.coefficients import shipped
from whichbits.prediction.predictor import predict_many
from whichbits.prediction.query import MAX, Query
from whichbits.prediction.ranking import rank_hardware
from whichbits.prediction.ratios import rate_a_device, speedups

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def ask(*formats: str, hardware: str = "A6000", concurrency: float = 1.0, model: str = LLAMA):
    answers = predict_many([Query(model, format, hardware, 1, 512, 256, concurrency) for format in formats])
    return answers, speedups(answers, shipped())


def log_width(span: tuple[float, float]) -> float:
    return float(np.log(span[1] / span[0]))


@pytest.mark.parametrize("hardware", ["A6000", "H200", "L40S", "MI300X"])
@pytest.mark.parametrize("concurrency", [1.0, 16.0, MAX])
def test_a_ratio_is_surer_than_the_quotient_of_two_intervals(hardware: str, concurrency: float) -> None:
    (base, quick), (none, found) = ask("bf16", "w8a8-int", hardware=hardware, concurrency=concurrency)
    assert none is None
    assert found.over == "bf16"
    quantity = "qps" if concurrency == MAX else "latency_s"
    ratio = getattr(quick, quantity) / getattr(base, quantity)
    assert found.value == pytest.approx(ratio if quantity == "qps" else 1 / ratio)
    for level in (80, 95):
        low, high = found.intervals[level]
        assert low < found.value < high
        apart = sum(log_width(answer.intervals[quantity][level]) for answer in (base, quick))
        assert log_width((low, high)) <= apart + 1e-12
    assert log_width(found.intervals[80]) <= log_width(found.intervals[95])


def test_aliases_and_refused_formats_are_no_obstacle() -> None:
    _, found = ask("FP8", "w8a8-int", "bfloat16", hardware="A100")
    assert [f.over if f else None for f in found] == [None, "bf16", None]


def test_rates_a_device_count_devices() -> None:
    one, two = predict_many([Query(LLAMA, f, "H100", n, 512, 256, MAX) for f, n in (("bf16", 2), ("w8a8-fp", 1))])
    found = rate_a_device(two, one, shipped())
    assert found.value == pytest.approx(two.qps / (one.qps / 2))


def test_rows_name_what_they_are_compared_with(tmp_path: Path) -> None:
    common = {"model": LLAMA, "hardware": "A100", "count": "1", "prompt_tokens": "512", "output_tokens": "256"}
    rows = predict_rows(
        [{**common, "format": f, "concurrency": c} for f, c in (("w8a8-int", "1"), ("bf16", "1"), ("w8a8-int", "8"))]
    )
    assert [row["speedup_over"] for row in rows] == ["bf16", "", ""]
    assert float(rows[0]["speedup"]) == pytest.approx(float(rows[1]["latency_s"]) / float(rows[0]["latency_s"]), rel=1e-4)
    assert float(rows[0]["speedup_low_95"]) < float(rows[0]["speedup_low_80"]) < float(rows[0]["speedup"])


def test_a_ranking_says_what_a_format_gains_on_each_device() -> None:
    ranked = rank_hardware(
        LLAMA, prompt_tokens=512, output_tokens=256, hardware=["A6000", "H100"], counts=[1], formats=["bf16", "w8a8-int"]
    )
    gains = {(entry.hardware, entry.format): entry.gain for entry in ranked}
    assert gains["A6000", "bf16"] is None
    assert gains["A6000", "w8a8-int"].value > 1.1
    assert gains["H100", "w8a8-int"].over == "bf16"
