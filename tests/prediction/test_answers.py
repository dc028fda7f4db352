"""Laws of answers as users see them: limits, loads, prompts, versions, and what an answer may never be."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from whichbits.cli.app import app
from whichbits.core.errors import UserError
from whichbits.hardware.catalogue import catalogue
from whichbits.prediction.model.coefficients import load, priors, shipped
from whichbits.prediction.model.solve import MeanLimits
from whichbits.prediction.predictor import Prediction, predict_many
from whichbits.prediction.query import MAX, Query
from whichbits.prediction.ranking import Ranked, rank_hardware

MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B", "google/gemma-3-1b-it", "meta-llama/Llama-3.1-70B-Instruct")
QUERIES = st.builds(
    Query,
    st.sampled_from(MODELS),
    st.sampled_from(["bf16", "w8a8-fp", "w4a16-int", "w8a8-int"]),
    st.sampled_from(["A6000", "A100", "H100", "H200", "L4", "B200", "MI300X"]),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 20000),
    st.integers(1, 8000),
    st.just(1.0),
    engine=st.sampled_from(["vllm", "vllm==0.6.4", "vllm==0.12.0", "trtllm", "sglang"]),
)
LOADS = (1.0, 2.0, 3.7, 16.0, 64.0, 256.0, 300.0, 1024.0, 5000.0)


def rates(answers: list[Prediction]) -> list[float]:
    return [answer.qps for answer in answers if answer.qps is not None]


@settings(deadline=None, max_examples=60)
@given(QUERIES, st.sampled_from([None, 1]))
def test_the_highest_rate_is_never_below_that_of_a_named_load(query: Query, tensor: int | None) -> None:
    asked = [replace(query, concurrency=n, tensor_parallel=tensor) for n in (*LOADS, MAX)]
    found = rates(predict_many(asked))
    if len(found) == len(asked):
        assert max(found) == found[-1]


@settings(deadline=None, max_examples=40)
@given(QUERIES)
@example(Query(MODELS[1], "bf16", "A6000", 2, 63, 6, 1.0, engine="trtllm"))
@example(Query(MODELS[1], "bf16", "A6000", 4, 4568, 40, 1.0, engine="vllm==0.12.0"))
def test_more_in_flight_never_lowers_the_best_rate_and_littles_law_holds_below_it(query: Query) -> None:
    assume(query.output_tokens > 1)  # see the laws in docs/predict.md
    answers = predict_many([replace(query, concurrency=n) for n in LOADS])
    best = 0.0
    for n, answer in zip(LOADS, answers, strict=True):
        if answer.qps is None:
            continue
        best = max(best, answer.qps)
        assert answer.qps >= best * (1 - 1e-9)
        assert answer.qps * answer.latency_s <= n * (1 + 1e-9)
        assert answer.qps_steady * answer.latency_s == pytest.approx(n)


@settings(deadline=None, max_examples=40)
@given(
    QUERIES,
    st.sampled_from(["ttft_s", "tpot_s", "latency_s"]),
    st.floats(0.9, 50),
    st.floats(1, 10),
)
def test_a_limit_never_raises_a_rate_or_lowers_a_price(query: Query, what: str, times: float, wider: float) -> None:
    (alone,) = predict_many([query])
    if alone.latency_s is None:
        return
    bound = getattr(alone, what) * times

    def ranked(limits: MeanLimits | None) -> Ranked:
        (entry,) = rank_hardware(
            query.model, prompt_tokens=query.prompt_tokens, output_tokens=query.output_tokens, formats=[query.format],
            hardware=[query.hardware], counts=[query.count], limits=limits, prices={query.hardware: 2.0}, engine=query.engine,
        )  # fmt: skip
        return entry

    free, bounded, loose = ranked(None), ranked(MeanLimits(**{what: bound})), ranked(MeanLimits(**{what: bound * wider}))
    assert free.prediction is not None
    for tighter, looser in ((bounded, loose), (loose, free), (bounded, free)):
        if tighter.prediction is None:
            continue
        assert looser.prediction is not None
        assert tighter.prediction.qps <= looser.prediction.qps * (1 + 1e-9)
        assert tighter.dollars_per_query >= looser.dollars_per_query * (1 - 1e-9)
        assert getattr(tighter.prediction, what) <= bound * wider * (1 + 1e-6) or looser is free


@settings(deadline=None, max_examples=60)
@given(QUERIES, st.sampled_from([1.0, 8.0, 200.0, MAX]), st.integers(1, 4000))
def test_a_longer_prompt_is_never_cheaper(query: Query, load: float, more: int) -> None:
    asked = replace(query, concurrency=load)
    short, longer = predict_many([asked, replace(asked, prompt_tokens=query.prompt_tokens + more)], prices=[2.0, 2.0])
    if short.qps is None or longer.qps is None:
        return
    assert longer.queries_per_dollar <= short.queries_per_dollar * (1 + 1e-9)
    if load < MAX:
        assert longer.latency_s >= short.latency_s * (1 - 1e-9)


@settings(deadline=None, max_examples=60)
@given(QUERIES, st.sampled_from([1.0, 8.0, 3000.0, MAX]))
def test_every_answer_is_finite_and_lies_in_its_intervals(query: Query, load: float) -> None:
    (answer,) = predict_many([replace(query, concurrency=load)], prices=[2.0])
    assert (answer.qps is None) == (answer.reason is not None)
    for name, spans in answer.intervals.items():
        assert 0 < spans[95][0] <= spans[80][0] <= getattr(answer, name) <= spans[80][1] <= spans[95][1] < math.inf


def test_a_rate_is_what_was_asked_and_what_is_above_the_highest_is_refused() -> None:
    base = Query(MODELS[0], "bf16", "A100", 1, 512, 256)
    (highest,) = predict_many([replace(base, concurrency=MAX)])
    slow, quick, over = predict_many([replace(base, rate=rate) for rate in (0.01, 0.999 * highest.qps, 1.001 * highest.qps)])
    assert slow.qps == 0.01
    assert slow.concurrency == pytest.approx(0.01 * slow.latency_s)
    assert quick.qps == pytest.approx(0.999 * highest.qps)
    assert "above the highest" in over.reason


def test_one_request_in_flight_keeps_one_replica_busy() -> None:
    (alone,) = predict_many([Query(MODELS[0], "bf16", "A100", 4, 512, 256, 1.0, tensor_parallel=1)])
    assert alone.qps == pytest.approx(1 / alone.latency_s)


def test_all_devices_are_compared_at_one_version_of_the_engine() -> None:
    devices = [entry.name for entry in catalogue().values()]
    for n in (1.0, 64.0, MAX):
        answers = predict_many([Query(MODELS[0], "bf16", name, 1, 512, 256, n) for name in devices])
        assert {answer.engine for answer in answers} == {"vllm==0.7.2"}
    ranked = rank_hardware(MODELS[0], prompt_tokens=512, output_tokens=256, counts=[1], engine="vllm==0.12.0")
    assert {entry.engine for entry in ranked} == {"vllm==0.12.0"}


@pytest.mark.parametrize(
    ("engine", "tier", "measured"),
    [
        ("vllm==0.6.4.post1", "measured", "vllm==0.6.4.post1, 0.7.2"),
        ("vllm", "measured", "vllm==0.6.4.post1, 0.7.2"),
        ("vllm==0.7.0", "interpolated", "vllm==0.6.4.post1, 0.7.2"),
        ("vllm==0.6.3", "calibrated", "vllm==0.6.4.post1, 0.7.2"),
        ("vllm==0.12.0", "calibrated", "vllm==0.12.0"),
        ("vllm==99.1", "calibrated", "vllm==0.12.0"),
        ("sglang==0.5.6", "calibrated", "sglang==0.5.6.post2"),
    ],
)
def test_an_answer_names_the_versions_that_were_measured_and_beyond_them_is_no_interpolation(
    engine: str, tier: str, measured: str
) -> None:
    (answer,) = predict_many([Query(MODELS[0], "bf16", "A6000", 1, 256, 128, engine=engine)])
    assert (answer.tier, answer.engine_measured) == (tier, measured)


def test_a_later_version_than_was_measured_is_no_interpolation() -> None:
    model = "meta-llama/Llama-3.1-70B-Instruct"
    asked = [Query(model, "w8a8-fp", "H200", 4, 1024, 1024, 8.0, engine=f"vllm=={release}") for release in ("0.12.0", "0.13.0")]
    assert [answer.tier for answer in predict_many(asked)] == ["interpolated", "calibrated"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hardware", "H100", "--workload", "512/256"],
        ["--hardware", "H100", "--workload", "512/256", "--concurrency", "max"],
        ["--hardware", "H100", "--workload", "512/256", "--max-ttft", "1"],
        ["--all-hardware", "--workload", "512/256", "--count", "1"],
    ],
)
def test_the_command_names_the_version_in_every_row(arguments: list[str]) -> None:
    shown = CliRunner().invoke(app, ["predict", "--model", MODELS[0], *arguments, "--json"])
    assert {row["engine"] for row in json.loads(shown.stdout)} == {"vllm==0.7.2"}


def test_the_command_keeps_the_laws() -> None:
    def row(*more: str) -> dict[str, float]:
        asked = ["predict", "--model", MODELS[0], "--hardware", "H100", "--workload", "512/256", "--format", "w8a8-fp"]
        shown = CliRunner().invoke(app, [*asked, "--price", "h100=3", "--json", *more])
        return json.loads(shown.stdout)[0]

    highest = row("--concurrency", "max")
    named = [row("--concurrency", n) for n in ("1", "64", "256", "1024")]
    assert highest["qps"] >= max(one["qps"] for one in named)
    bounded = row("--max-ttft", "2", "--max-tpot", "0.05")
    assert bounded["qps"] <= highest["qps"]


def spoilt(name: str, value: float) -> Callable[[], list[Prediction]]:
    values = {**shipped().values, name: value}
    known = replace(shipped(), values=values)
    return lambda: predict_many(
        [Query(MODELS[0], f, "H100", 1, 512, 256, n) for f in ("bf16", "w4a16-int") for n in (1, 8, MAX)], known
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e9, 1e300, 1e-300])
@pytest.mark.parametrize("name", ["memory_efficiency", "gemm_cycles.dense16", "kv_fill", "unseen", "step_host.vllm"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_coefficient_that_means_nothing_is_the_reason_of_every_answer(name: str, value: float) -> None:
    for answer in spoilt(name, value)():
        assert answer.reason is not None
        assert name in answer.reason
        assert answer.qps is answer.latency_s is None
    known = replace(shipped(), values={**shipped().values, name: value})
    for limits in (None, MeanLimits(ttft_s=1.0)):
        (ranked,) = rank_hardware(
            MODELS[0], prompt_tokens=512, output_tokens=256, formats=["bf16"], hardware=["H100"], counts=[1], limits=limits,
            coefficients=known,
        )  # fmt: skip
        assert name in ranked.reason


@pytest.mark.parametrize("factor", [1 / 900, 900])
@pytest.mark.parametrize("name", sorted(priors().values))
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_whatever_the_coefficients_a_number_is_finite_or_the_reason_says_so(name: str, factor: float) -> None:
    for answer in spoilt(name, factor * priors().values[name])():
        numbers = (answer.latency_s, answer.ttft_s, answer.tpot_s, answer.qps)
        assert all(n is None for n in numbers) == (answer.reason is not None)
        assert answer.reason is not None or all(0 < n < math.inf for n in numbers)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "0", "1e9", "1e-9", '"0.8"', "null"])
def test_coefficients_that_are_no_positive_numbers_are_refused(value: str, tmp_path: Path) -> None:
    shipped().save(tmp_path / "own.json")
    text = (tmp_path / "own.json").read_text()
    contents = json.loads(text)
    contents["values"]["overlap"] = "HERE"
    (tmp_path / "own.json").write_text(json.dumps(contents).replace('"HERE"', value))
    with pytest.raises(UserError, match=r"own\.json"):
        load(tmp_path / "own.json")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"count": 5000}, "count"),
        ({"prompt_tokens": 10**10}, "prompt_tokens"),
        ({"output_tokens": math.inf}, "output_tokens"),
        ({"prompt_tokens": math.nan}, "prompt_tokens"),
        ({"concurrency": math.nan}, "concurrency"),
        ({"concurrency": 1e12}, "concurrency"),
        ({"rate": math.nan}, "rate"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(more: dict[str, float], why: str) -> None:
    with pytest.raises(UserError, match=f"^{why}: "):
        predict_many([replace(Query(MODELS[0], "bf16", "H100", 1, 512, 256), **more)])


@pytest.mark.parametrize("price", [math.nan, math.inf, -1.0])
def test_a_price_that_cannot_be_is_refused(price: float) -> None:
    with pytest.raises(UserError, match="price"):
        predict_many([Query(MODELS[0], "bf16", "H100", 1, 512, 256)], prices=[price])
