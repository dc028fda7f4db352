"""Laws of the mean field, whatever the coefficients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichbits.hardware.catalogue import find
from whichbits.models.catalogue import find_shape
from whichbits.prediction.model.coefficients import priors, shipped
from whichbits.prediction.model.forward_pass import decode, prefill
from whichbits.prediction.model.kernels import engine, kernel
from whichbits.prediction.model.serving import kv_tokens, serve
from whichbits.prediction.model.solve import MeanLimits, concurrency_at_rate, concurrency_within
from whichbits.prediction.model.work import Layout, Point, columns

LLAMA = find_shape("meta-llama/Llama-3.1-8B-Instruct")


def work(
    concurrency: float,
    *,
    prompt: float = 512,
    output: float = 256,
    gpu: str = "H100",
    name: str = "vllm",
    layout: Layout | None = None,
):
    return columns([Point(LLAMA, kernel("bf16"), find(gpu), engine(name), layout or Layout(1), prompt, output, concurrency)])


def test_a_lone_request_takes_its_prompt_and_its_tokens() -> None:
    values = shipped().values
    lone = work(1.0)
    outcome = serve(lone, values)
    first = prefill(lone, values, lone.prompt)[0]
    step = decode(lone, values, np.ones(1), lone.prompt + lone.output / 2)[0]
    assert outcome.ttft[0] == pytest.approx(first)
    assert outcome.latency[0] == pytest.approx(first + 255 * step)
    assert outcome.rate[0] == pytest.approx(1 / outcome.latency[0])


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["A6000", "A100", "H100", "L4", "B200"]),
    st.sampled_from(["vllm", "vllm==0.7.2", "trtllm", "sglang"]),
    st.integers(16, 8000),
    st.integers(2, 4000),
    st.floats(1, 300),
)
def test_more_load_never_shortens_an_answer_and_little_holds(
    gpu: str, name: str, prompt: int, output: int, load: float
) -> None:
    values = shipped().values
    light, heavy = (serve(work(x, prompt=prompt, output=output, gpu=gpu, name=name), values) for x in (load, 2 * load))
    assert heavy.latency[0] >= light.latency[0] * (1 - 1e-9)
    assert light.rate[0] * light.latency[0] == pytest.approx(load)
    assert light.latency[0] == pytest.approx(light.ttft[0] + (output - 1) * light.tpot[0])


def test_kv_cache_holds_what_the_memory_leaves() -> None:
    values = dict(priors().values) | {"reserved_gb": 2.5}
    # 80 GiB · 0.9 − 16.06 GB of weights − 2.5 GB, at 32 layers · 2 · 8 · 128 · 2 bytes a token.
    free = 80 * 2**30 * 0.9 - 16.06e9 - 2.5e9
    assert kv_tokens(work(1.0), values)[0] == pytest.approx(free / 131072, rel=0.001)


def test_requests_beyond_the_kv_cache_wait() -> None:
    values = shipped().values
    within, beyond = (serve(work(x, prompt=8000, output=1000, gpu="L4"), values) for x in (1.0, 20.0))
    assert beyond.running[0] < 20
    assert beyond.ttft[0] > 5 * within.ttft[0]


def test_replicas_share_the_load() -> None:
    values = shipped().values
    one = serve(work(8.0), values)
    two = serve(work(16.0, layout=Layout(1, 1, 2)), values)
    assert two.latency[0] == pytest.approx(one.latency[0])
    assert two.rate[0] == pytest.approx(2 * one.rate[0])


@pytest.mark.parametrize(("version", "tokens"), [("0.6.4", 512), ("0.7.2", 2048)])
def test_a_step_takes_no_more_tokens_than_the_engine_allows(version: str, tokens: int) -> None:
    values = shipped().values
    heavy = serve(work(np.inf, prompt=1024, output=128, name=f"vllm=={version}"), values)
    # In a step's time, the prompts and outputs of the requests that return in it.
    assert heavy.rate[0] * (1024 + 128) * heavy.tpot[0] == pytest.approx(tokens, rel=0.02)
    light = serve(work(4.0, prompt=1024, output=128, name=f"vllm=={version}"), values)
    assert light.rate[0] * (1024 + 128) * light.tpot[0] < tokens / 2


@pytest.mark.parametrize("unseen", [0.5, 1.0])
def test_a_load_test_counts_little_in_its_first_service_time(unseen: float) -> None:
    outcome = serve(work(np.inf, prompt=256, output=1024), dict(shipped().values) | {"unseen": unseen})
    lost = 1 - outcome.window_rate[0] / outcome.rate[0]
    assert lost == pytest.approx(unseen * 1024 * outcome.tpot[0] / 360)


@given(st.floats(0.2, 0.95))
@settings(deadline=None, max_examples=20)
def test_the_load_of_a_rate_gives_that_rate(share: float) -> None:
    values = shipped().values
    points = work(1.0)
    highest = serve(work(np.inf), values).rate
    wanted = highest * share
    load = concurrency_at_rate(points, values, wanted, highest)
    assert serve(points, values, load).rate[0] == pytest.approx(wanted[0], rel=1e-3)
    assert np.isnan(concurrency_at_rate(points, values, highest * 1.01, highest)[0])


def test_the_largest_load_within_limits_just_keeps_them() -> None:
    values, points = shipped().values, work(1.0)
    limit = serve(points, values, np.array([20.0])).tpot[0]
    load = concurrency_within(points, values, MeanLimits(tpot_s=float(limit)))
    assert load[0] == pytest.approx(20, rel=0.01)
    assert np.isnan(concurrency_within(points, values, MeanLimits(ttft_s=1e-6))[0])
