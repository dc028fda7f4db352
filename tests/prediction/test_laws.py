"""What must hold of every answer, whatever was fitted: monotone in what helps and in what is asked, finite, in its interval."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichbits.formats.catalogue import load as formats_of_the_catalogue
from whichbits.hardware.catalogue import Hardware, catalogue, find
from whichbits.models.catalogue import catalogue as models
from whichbits.prediction.model.coefficients import shipped
from whichbits.prediction.model.kernels import engine, kernel
from whichbits.prediction.model.serving import Outcome, serve
from whichbits.prediction.model.work import Layout, Point, columns
from whichbits.prediction.predictor import predict, predict_many
from whichbits.prediction.query import MAX, Query

LLAMA = models()["meta-llama/Llama-3.1-8B-Instruct"]
POINTS = st.builds(
    Point,
    st.sampled_from([LLAMA, models()["Qwen/Qwen3-30B-A3B"], models()["google/gemma-2-9b-it"]]),
    st.sampled_from([kernel("bf16"), kernel("w8a8-fp"), kernel("w4a16-int")]),
    st.sampled_from([find("H100"), find("L40S"), find("B200")]),
    st.sampled_from([engine(name) for name in ("vllm", "vllm==0.6.4", "trtllm", "sglang")]),
    st.sampled_from([Layout(1), Layout(2), Layout(4, 2), Layout(1, 1, 4)]),
    st.integers(1, 30000),
    st.integers(1, 4000),
    st.sampled_from([1.0, 2.0, 7.5, 64.0, 300.0, math.inf]),
)


def outcome(*points: Point) -> Outcome:
    return serve(columns(points), shipped().values)


@settings(deadline=None, max_examples=150)
@given(POINTS, st.sampled_from(["bandwidth", "peak", "link", "clock_hz", "memory"]), st.floats(1.01, 4))
def test_better_hardware_is_never_slower(point: Point, what: str, factor: float) -> None:
    def improved(device: Hardware) -> Hardware:
        if what == "peak":
            return replace(device, peak={kind: rate * factor for kind, rate in device.peak.items()})
        return replace(device, **{what: getattr(device, what) * factor})

    found = outcome(point, replace(point, hardware=improved(point.hardware)))
    assert found.running[1] >= found.running[0] * (1 - 1e-9)
    if what != "memory":  # two requests at once may return later than one after the other, where each visits other experts
        assert found.rate[1] >= found.rate[0] * (1 - 1e-9)
    if point.concurrency == 1:
        assert found.latency[1] <= found.latency[0] * (1 + 1e-9)


@settings(deadline=None, max_examples=150)
@given(POINTS, st.integers(1, 5000), st.integers(1, 1000))
def test_more_tokens_never_take_less_time(point: Point, prompt: int, output: int) -> None:
    longer_prompt = replace(point, prompt=point.prompt + prompt)
    longer_output = replace(point, output=point.output + output)
    found = outcome(point, longer_prompt, longer_output)
    for longer in (1, 2):
        assert found.rate[longer] <= found.rate[0] * (1 + 1e-9)
        if math.isfinite(point.concurrency):
            assert found.latency[longer] >= found.latency[0] * (1 - 1e-9)


@settings(deadline=None, max_examples=100)
@given(POINTS)
def test_fewer_bits_take_no_more_memory_and_leave_no_less_room(point: Point) -> None:
    whole, half = (replace(point, kernel=kernel(name), concurrency=math.inf) for name in ("bf16", "w8a8-fp"))
    found = outcome(whole, half)
    assert found.running[1] >= found.running[0]


@pytest.mark.parametrize("load", [1.0, 64.0, MAX])
def test_every_model_on_every_device_in_every_format_has_an_answer_or_a_reason(load: float) -> None:
    shapes = {shape.id for shape in models().values()}
    formats = list(formats_of_the_catalogue())
    devices = [entry.name for entry in catalogue().values()]
    queries = [
        Query(model, formats[(i + j) % len(formats)], device, 1 if (i + j) % 3 else 8, 512, 256, load)
        for i, model in enumerate(sorted(shapes))
        for j, device in enumerate(devices)
    ]
    answered = 0
    for answer in predict_many(queries):
        if answer.reason is not None:
            assert answer.latency_s is None
            continue
        answered += 1
        for quantity, spans in answer.intervals.items():
            value = getattr(answer, quantity)
            assert 0 < spans[95][0] <= spans[80][0] <= value <= spans[80][1] <= spans[95][1] < math.inf
        # A token takes no less than a tenth of a millisecond and no more than a few seconds on anything in the catalogue.
        assert 1e-4 < answer.tpot_s < 5
    assert answered > len(queries) / 5


def test_time_to_first_token_grows_with_load_but_not_beyond_all_prompts_before_it() -> None:
    ask = {"prompt_tokens": 1024, "output_tokens": 128}
    found = [predict(LLAMA.id, "bf16", "H100", concurrency=n, **ask) for n in (1, 8, 64, 200)]
    times = [answer.ttft_s for answer in found]
    assert times == sorted(times)
    for n, answer in zip((1, 8, 64, 200), found, strict=True):
        assert answer.ttft_s <= n * times[0] + answer.latency_s / 2


UNSEEN = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 30,
    "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 100000, "max_position_embeddings": 16384,
}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [{}, {"architectures": ["MixtralForCausalLM"], "num_local_experts": 16, "num_experts_per_tok": 2}],
    ids=["dense", "experts"],
)
def test_a_model_known_by_its_configuration_alone(more: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**UNSEEN, **more}))
    formats = ("bf16", "w8a8-fp", "w4a16-int")
    answers = [predict(str(tmp_path), format, "H200", prompt_tokens=512, output_tokens=128) for format in formats]
    times = [answer.latency_s for answer in answers]
    assert times[0] > max(times[1:])
    assert {answer.tier for answer in answers} == ({"roofline-only"} if more else {"calibrated", "same-architecture"})
    assert np.isfinite(times).all()
