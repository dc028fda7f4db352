"""Hours of a plan before anything has run: sums over the predictor's answers, and nothing where it has none."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import whichbits
from whichbits.prediction.predictor import predict
from whichbits.quantization.calibration.kept_text import kept_text
from whichbits.schema.engine import EngineAtAddress
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.studies.forecast import expected, forecast
from whichbits.studies.planning.estimate import Durations, Estimate
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.preview import preview
from whichbits.studies.specification.schema import parse
from whichbits.studies.steps.forecast import batch_seconds
from whichbits.studies.steps.serve import capacity_seconds, closed_loop_seconds, open_loop_seconds
from whichbits.studies.store.store import Store

TEXT = """\
version: 1
name: small
model: {model}
candidates: [{{format: w8a8-int, run: served}}, {{format: w8a8-fp, run: served}}]
tasks: [order, {{name: recall, limit: 50}}]
workloads: [{{name: mine, prompt_tokens: 32, output_tokens: 8, concurrency: [4], rate: 2.0}}]
deployment: {{name: one, hardware: a100-sxm-80gb, count: 1}}
engine: {{kind: url, urls: {{bf16: "http://a", w8a8-int: "http://b", w8a8-fp: "http://c"}}}}
max_length: 256
rounds: 1
"""


def at(rates: dict[float, float | None]):
    def ask(prompt: float, output: float, concurrencies: Sequence[float]) -> list[float | None]:
        return [rates.get(concurrency, 1e9) for concurrency in concurrencies]

    return ask


def test_a_ladder_takes_a_warm_up_and_its_waves_at_each_load() -> None:
    workload = Workload(name="mine", prompt_tokens=32, output_tokens=8, concurrency=(4, 16), requests_per_stream=5, rate=2.0)
    # 6 waves of 1, 4 and 16 requests at 1, 2 and 4 a second.
    assert closed_loop_seconds(workload, at({1: 1.0, 4: 2.0, 16: 4.0})) == pytest.approx(6 + 12 + 24)
    assert closed_loop_seconds(workload, at({1: 1.0, 4: None, 16: 4.0})) is None


def test_arrivals_last_until_the_last_of_them(tmp_path: Path) -> None:
    workload = Workload(name="mine", prompt_tokens=32, output_tokens=8, rate=(2.0, 4.0), burstiness="constant")
    assert open_loop_seconds(workload) == pytest.approx(110 / 2 + 110 / 4)
    log = tmp_path / "log.csv"
    log.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{second},8,4\n" for second in range(31)))
    recorded = {"trace": {"file": str(log), "speed": 2, "requests": 21}, "rate": None, "burstiness": None}
    assert open_loop_seconds(Workload.model_validate(workload.model_dump() | recorded)) == pytest.approx(10, rel=0.06)


def test_an_automatic_ladder_ends_where_the_rate_stops_growing() -> None:
    workload = Workload(name="mine", prompt_tokens=32, output_tokens=8, requests_per_stream=9)
    rates = {1: 1.0, 2: 2.0, 4: 2.05, 8: 1e-9}
    assert closed_loop_seconds(workload, at(rates)) == pytest.approx(10 * (1 / 1.0 + 2 / 2.0 + 4 / 2.05))


def test_runs_that_look_for_the_capacity_take_as_long_as_their_requests_at_the_largest_load() -> None:
    slo = {"latency": {"seconds": 9, "percentile": 90}}
    fields = {"name": "mine", "prompt_tokens": 32, "output_tokens": 8, "concurrency": [4], "slo": slo}
    assert capacity_seconds(Workload.model_validate(fields), at({4: 2.0})) == 0
    seeking = Workload.model_validate(fields | {"capacity": {"runs": 2, "requests": 100}})
    assert capacity_seconds(seeking, at({4: 2.0})) == pytest.approx(2 * 110 / 2)
    assert capacity_seconds(seeking, at({4: None})) is None


def test_requests_of_a_task_run_side_by_side() -> None:
    assert batch_seconds([400] * 30, 16, EngineAtAddress(max_length=512, concurrency=8), at({8: 3.0})) == pytest.approx(
        10, rel=0.06
    )
    assert batch_seconds([400] * 2, 16, EngineAtAddress(max_length=512, concurrency=8), at({2: 1.0})) == pytest.approx(2)


def test_a_forecast_is_the_predictors_answer_for_the_deployment(tiny_llama: Path) -> None:
    expansion = Expansion(*parse(TEXT.format(model=tiny_llama), "small.yaml"), ask_servers=False)
    seconds = forecast(expansion)
    steps = {(p.step.kind, p.step.labels.candidate): p.step for p in expansion.plan().steps if p.step.kind == "serve"}
    ask = {"prompt_tokens": 32, "output_tokens": 8}
    one, four = (predict(str(tiny_llama), "w8a8-int", "A100", concurrency=c, **ask).latency_s for c in (1, 4))
    assert seconds(steps["serve", "w8a8-int"]) == pytest.approx(11 * one + 11 * four + 55)
    assert seconds(steps["serve", "w8a8-fp"]) is None  # an A100 has no FP8
    assert seconds(Step("compare", 1, Inputs())) is None


def test_a_step_like_one_that_has_run_takes_as_long_and_another_as_long_as_predicted(tiny_llama: Path) -> None:
    expansion = Expansion(*parse(TEXT.format(model=tiny_llama), "small.yaml"), ask_servers=False)
    steps = {(p.step.kind, p.step.labels.candidate, p.step.labels.task): p.step for p in expansion.plan().steps}
    short, long = (steps["evaluate", "w8a8-int", task] for task in ("order", "recall"))
    durations = Durations()
    seconds = expected(expansion, durations)
    predicted = [seconds(step) for step in (short, long)]
    assert None not in predicted and predicted == [forecast(expansion)(step) for step in (short, long)]
    durations.add("evaluate", short.labels, 10.0)
    assert seconds(short) == 10.0


def test_the_text_and_the_pass_count_for_the_first_checkpoint_of_those_that_share_them(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    from whichbits.quantization import estimate

    measured = []

    def measure_speed() -> estimate.Speed:
        measured.append(1)
        return estimate.Speed(1e9, 1e9, 1e6, 1e6, 1e9)  # text takes longest

    monkeypatch.setattr(estimate, "measure_speed", measure_speed)
    monkeypatch.setattr(estimate, "measure_rounding", lambda format, recipe: 1e-9)
    expansion = Expansion(*parse(TEXT.format(model=tiny_llama), "small.yaml"), ask_servers=False)
    made = [planned.step for planned in expansion.plan().steps if planned.step.kind == "quantize"]
    seconds = forecast(expansion)
    first, second = (seconds(step) for step in made)
    assert first is not None and second is not None
    assert second < first / 100
    assert len(measured) == 1, "the machine is measured once, not for each checkpoint"

    kept = kept_text(expansion.model.files, 512, 0)
    kept.write([[1] * 512] * 128)
    again = forecast(expansion)(made[0])
    assert again is not None and again < first / 2, "text that is there takes no time"


@pytest.mark.slow
def test_a_dry_run_counts_the_starts_of_servers(tiny_llama: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM in this environment")
    text = TEXT.format(model=tiny_llama)
    started = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("engine:"))
    found = preview(Expansion(*parse(started, "small.yaml")), Store(tmp_path), {})
    assert "with 3 starts of servers" in found.text
    at_addresses = preview(Expansion(*parse(text, "small.yaml"), ask_servers=False), Store(tmp_path), {})
    assert "starts of servers" not in at_addresses.text


def test_what_is_stored_counts_before_what_is_predicted() -> None:
    durations = Durations()
    durations.add("serve", Labels(), 10.0)
    steps = [Step("serve", 1, Inputs()), Step("generate", 1, Inputs()), Step("compare", 1, Inputs())]
    total = durations.total(steps, lambda step: 5.0 if step.kind != "compare" else None)
    assert total == Estimate(seconds=15.0, unknown=1, predicted=5.0)
    assert str(total) == "15 s (5 s of it predicted) and 1 step of unknown length"
    assert str(total.and_predicted(40.0)) == "55 s (45 s of it predicted) and 1 step of unknown length"


def test_a_dry_run_names_hours_and_dollars_as_predicted(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT.format(model=tiny_llama))
    shown = whichbits.plan(tmp_path / "small.yaml", store=tmp_path / "store")
    times = {row.step: row.time for row in shown.rows}
    assert any("(predicted)" in time for step, time in times.items() if step.startswith("serve w8a8-int"))
    assert all("(predicted)" in time for step, time in times.items() if step.startswith("quantize"))
    assert all(time == "unknown" for step, time in times.items() if step.startswith("serve w8a8-fp"))
    assert "(predicted) and" in shown.text
    assert "Cost: $" in shown.text
    assert "of one machine" not in shown.text
    elsewhere = whichbits.plan(tmp_path / "small.yaml", store=tmp_path / "store", executor="ray", address="first:6379")
    assert "Hours are those of one machine" in elsewhere.text


def test_verdicts_know_nothing_of_predictions() -> None:
    # A predicted step can decide nothing: what judges imports neither the predictor nor the forecast.
    source = Path(whichbits.__file__).parent
    for file in (
        *(source / "verdict").glob("*.py"),
        source / "studies" / "conclusion.py",
        *(source / "studies" / "steps").glob("*.py"),
    ):
        assert not re.search(r"whichbits\.(prediction|studies\.forecast)", file.read_text()), file
