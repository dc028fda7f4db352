"""Steps against sums done by hand for a model, a device and coefficients of round numbers."""

from dataclasses import replace

import numpy as np
import pytest

from whichbits.hardware.catalogue import Hardware, find
from whichbits.models.shape import Shape
from whichbits.prediction.model.coefficients import priors
from whichbits.prediction.model.forward_pass import (
    all_reduce,
    attended,
    decode,
    elementwise,
    linear_layers,
    prefill,
    prompt_attention,
    sequence_host,
)
from whichbits.prediction.model.kernels import data, engine, kernel
from whichbits.prediction.model.work import Layout, Point, columns, resident_bytes

SHAPE = Shape(id="round", hidden=1000, ffn=3000, layers=10, heads=10, kv_heads=5, head_dim=100, vocab=10000, context=100000)
DEVICE = replace(
    find("H100"),
    architecture="none",
    memory_kind="none",
    bandwidth=1e12,
    clock_hz=1e9,
    units=100,
    peak={"bf16": 1e14, "int8": 2e14},
    link=1e11,
    link_kind="nvlink",
)
IDEAL = dict.fromkeys(priors().values, 1e-12) | {
    "memory_efficiency": 1.0,
    "compute_efficiency": 1.0 / data()["sustained"]["other"]["bf16"],
    "overlap": 60.0,
    "attention_bandwidth": 1.0,
    "attention_compute": 1.0,
    "unpacked_compute": 1.0,
    "link_efficiency.nvlink": 1.0,
}


def work(format: str = "bf16", tensor: int = 1, shape: Shape = SHAPE, prompt: float = 100, output: float = 100):
    point = Point(shape, kernel(format), DEVICE, engine("vllm==0.12.0"), Layout(tensor), prompt, output, 1.0)
    return columns([point])


BLOCK = 10 * (2000 * 1000 + 1000 * 1000 + 6000 * 1000 + 1000 * 3000)


def test_one_token_costs_reading_the_weights() -> None:
    # qkv is (10 + 2·5)·100 = 2000 wide: 12·10⁶ weights a layer, 10 layers, 2 bytes, 10¹² B/s; activations add 0.2 %.
    assert SHAPE.block_parameters == BLOCK
    time = linear_layers(work(), IDEAL, np.array([1.0]))
    assert time[0] == pytest.approx(BLOCK * 2 / 1e12, rel=0.003)


def test_eight_bit_weights_cost_half_and_four_bit_a_quarter() -> None:
    whole = linear_layers(work(), IDEAL, np.array([1.0]))[0]
    assert linear_layers(work("w8a8-int"), IDEAL, np.array([1.0]))[0] / whole == pytest.approx(0.5, abs=0.002)
    assert linear_layers(work("w4a16-int"), IDEAL, np.array([1.0]))[0] / whole == pytest.approx(4.125 / 16, abs=0.002)


def test_many_tokens_cost_their_operations() -> None:
    time = linear_layers(work(), IDEAL, np.array([1e5]))
    assert time[0] == pytest.approx(2 * 1e5 * BLOCK / 1e14, rel=0.02)


def test_a_product_that_does_not_fill_the_device_costs_idle_multiprocessors() -> None:
    # Half a wave of 100 multiprocessors' tiles of 128 × 128 is idle at the end of the 4 products of a layer, whose k are
    # 1000, 1000, 1000 and 3000.
    values = IDEAL | {"overlap": 1.0}
    full, idle = (linear_layers(work(), values | {"idle_tiles": i}, np.array([512.0]))[0] for i in (1e-12, 0.5))
    assert idle - full == pytest.approx(10 * 2 * 6000 * 0.5 * 100 * 128**2 / 1e14, rel=1e-3)


def test_starts_and_ends_of_tiles_take_as_long_in_every_number_type() -> None:
    # As long as 100 of 16 bit along k: 200 of INT8, whose multiplications take half as long.
    values = IDEAL | {"overlap": 1.0}
    for format, rate in (("bf16", 1e14), ("w8a8-int", 2e14)):
        share = data()["sustained"]["other"][kernel(format).rate] * values["compute_efficiency"]
        none, some = (linear_layers(work(format), values | {"tile_depth": t}, np.array([512.0]))[0] for t in (1e-12, 100.0))
        extra = 2 * 512 * 10 * (2000 + 1000 + 6000 + 1000) * 100 * rate / 1e14
        assert some - none == pytest.approx(extra / (rate * share), rel=1e-3)


def test_four_bit_kernels_of_stripes_leave_no_tile_idle_and_unpack_more_slowly() -> None:
    marlin = replace(DEVICE, architecture="ampere")
    share = IDEAL["compute_efficiency"] * data()["sustained"]["ampere"]["bf16"]
    values = IDEAL | {"compute_efficiency.ampere.bf16": 1.0, "idle_tiles": 0.5, "unpacked_compute.striped": 0.8}
    point = Point(SHAPE, kernel("w4a16-int"), marlin, engine("vllm"), Layout(1), 100, 100, 1.0)
    time = linear_layers(columns([point]), values, np.array([1e4]))[0]
    assert time == pytest.approx(2 * 1e4 * BLOCK / (1e14 * share * 0.8), rel=1e-3)


@pytest.mark.parametrize(
    ("release", "layout", "times"),
    [("0.7.2", Layout(1), 1.0), ("0.7.2", Layout(4), 1.6), ("0.7.2", Layout(4, 3), 9.6), ("0.12.0", Layout(4, 3), 1.0)],
)
def test_early_vllm_sends_each_sequence_to_further_devices_and_nodes(release: str, layout: Layout, times: float) -> None:
    # 0.1 ms a sequence, a fifth of it more for each further device and four times as much for each further node.
    host = {"sequence_host.vllm": 1e-4, "sequence_host.vllm-early": 1e-4, "worker_host": 0.2, "node_host": 4.0}
    point = Point(SHAPE, kernel("bf16"), DEVICE, engine(f"vllm=={release}"), layout, 100, 100, 1.0)
    assert sequence_host(columns([point]), IDEAL | host)[0] == pytest.approx(times * 1e-4)


def test_whole_columns_of_tiles_starve_hoppers_four_bit_kernel_alone() -> None:
    # Memory waits units · 128 / n times as long: for n of 2000, 1000, 6000 and 1000.
    hopper = replace(DEVICE, architecture="hopper")
    ideal = IDEAL | {"compute_efficiency.hopper.bf16": 1.0, "compute_efficiency.hopper.fp8": 1.0}
    starving = ideal | {"starved": 1.0}

    def time(format: str, device: Hardware, values: dict[str, float]) -> float:
        point = Point(SHAPE, kernel(format), device, engine("vllm"), Layout(1), 100, 100, 1.0)
        return float(linear_layers(columns([point]), values, np.array([1.0]))[0])

    extra = sum(n * k * 100 * 128 / n for n, k in ((2000, 1000), (1000, 1000), (6000, 1000), (1000, 3000)))
    added = time("w4a16-int", hopper, starving) - time("w4a16-int", hopper, ideal)
    assert added == pytest.approx(10 * extra * 4.125 / 8 / 1e12, rel=0.02)
    for format, device in (("w4a16-int", DEVICE), ("bf16", hopper), ("w8a8-fp", hopper)):
        device = replace(device, peak={**device.peak, "fp8": 2e14})
        assert time(format, device, starving) == time(format, device, ideal)


def test_norms_are_computed_on_every_device_and_quantization_costs_more_than_its_bytes() -> None:
    values = IDEAL | {"elementwise": 1.0}
    alone, shared, quantized = (elementwise(w, values, np.array([10.0]))[0] for w in (work(), work(tensor=5), work("w8a8-int")))
    # 16 bytes a number of the hidden state (1000), 6 of attention's output and the activation function's (1000 + 3000).
    assert alone == pytest.approx(10 * 10 * (16 * 1000 + 6 * 4000) / 1e12)
    assert shared == pytest.approx(10 * 10 * (16 * 1000 + 6 * 800) / 1e12)
    assert quantized - alone == pytest.approx(10 * 10 * 9 * (2 * 1000 + 4000) / 1e12)


def test_tensor_parallel_devices_share_the_weights_and_add_all_reduces() -> None:
    alone, shared = (linear_layers(work(tensor=t), IDEAL, np.array([1.0]))[0] for t in (1, 5))
    assert shared == pytest.approx(alone / 5, rel=0.01)
    # 2 a layer of 100 tokens × 1000 × 2 bytes, of which a ring of 5 sends 2·4/5 over 10¹¹ B/s.
    reduced = all_reduce(work(tensor=5), IDEAL, np.array([100.0]))
    assert reduced[0] == pytest.approx(2 * 10 * 100 * 1000 * 2 * 1.6 / 1e11, rel=1e-6)
    assert all_reduce(work(), IDEAL, np.array([100.0]))[0] == 0


def test_the_kv_cache_is_read_by_grouped_heads() -> None:
    short, long = (decode(work(), IDEAL, np.array([8.0]), np.array([c]))[0] for c in (0.0, 10000.0))
    assert long - short == pytest.approx(8 * 10000 * 10 * (2 * 5 * 100 * 2) / 1e12, rel=1e-6)


def test_without_graphs_a_step_takes_its_launches() -> None:
    # vLLM 0.7 leaves sequences beyond 8192 tokens to eager mode: 10 layers of 1 ms on a host of 0.8 times
    # Ampere's time, a fifth more where activations are quantized; then the device computes the last layer.
    values = IDEAL | {"eager_host": 1e-3, "quantize_host": 0.2}

    def step(format: str, context: float) -> float:
        point = Point(SHAPE, kernel(format), DEVICE, engine("vllm==0.7.2"), Layout(1), 1, 1, 1.0)
        return float(decode(columns([point]), values, np.ones(1), np.array([context]))[0])

    busy = step("bf16", 8000) + 1000 * 10 * (2 * 5 * 100 * 2) / 1e12
    assert step("bf16", 9000) == pytest.approx(0.008 + busy / 10)
    assert step("w8a8-int", 9000) == pytest.approx(0.0096, abs=busy / 10)
    assert step("w4a16-int", 9000) < step("bf16", 9000)
    assert busy < 0.005


def test_a_sliding_window_bounds_what_is_read() -> None:
    shape = replace(SHAPE, sliding_window=1000, sliding_layers=5)
    assert attended(work(shape=shape), np.array([9000.0]))[0] == 5000


def test_experts_are_read_as_tokens_visit_them() -> None:
    # One token reads its 2 of 8 experts; very many tokens read all, and compute 2 each.
    shape = replace(SHAPE, experts=8, active_experts=2)
    attention, expert = 10 * 3e6, 10 * 9e6
    one = linear_layers(work(shape=shape), IDEAL, np.array([1.0]))[0]
    assert one == pytest.approx(2 * (attention + 2 * expert) / 1e12, rel=0.003)
    many = linear_layers(work(shape=shape), IDEAL, np.array([1e6]))[0]
    assert many == pytest.approx(2 * 1e6 * (attention + 2 * expert) / 1e14, rel=0.02)


def test_layers_without_experts_and_feed_forward_without_a_gate_are_read_as_they_are() -> None:
    # 3 of 10 layers have one feed-forward layer of 5000 in place of 2 experts of 3000 that a token visits.
    mixed = replace(SHAPE, experts=8, active_experts=2, dense_layers=3, dense_ffn=5000)
    time = linear_layers(work(shape=mixed), IDEAL, np.array([1.0]))[0]
    assert time == pytest.approx(2 * (10 * 3e6 + 7 * 2 * 9e6 + 3 * 15e6) / 1e12, rel=0.003)
    assert mixed.block_parameters == 10 * 3e6 + 7 * (8 * 9e6 + 8000) + 3 * 15e6
    plain = replace(SHAPE, gated=False)
    time = linear_layers(work(shape=plain), IDEAL, np.array([1.0]))[0]
    assert time == pytest.approx(2 * 10 * (3e6 + 6e6) / 1e12, rel=0.003)
    assert plain.block_parameters == 10 * 9e6


def test_attention_of_a_prompt_is_half_a_square_done_twice() -> None:
    # Scores and values: 2 · 2 · p²/2 · width operations a layer.
    assert prompt_attention(work(prompt=1000), IDEAL)[0] == pytest.approx(10 * 2 * 1000**2 * 1000 / 1e14)


def test_a_prompt_in_two_chunks_reads_the_weights_twice() -> None:
    values = IDEAL | {"overlap": 1.0}
    whole, halves = (prefill(work(prompt=1000), values, np.array([t]))[0] for t in (1000.0, 500.0))
    assert halves - whole == pytest.approx(BLOCK * 2 / 1e12, rel=0.01)


def test_resident_bytes_are_quantized_blocks_and_sixteen_bit_ends() -> None:
    assert resident_bytes(SHAPE, kernel("w8a8-int")) == BLOCK + 2 * 2 * 1000 * 10000
    assert resident_bytes(replace(SHAPE, tied=True), kernel("bf16")) == 2 * BLOCK + 2 * 1000 * 10000
