"""Time of one forward pass: a roofline for each matrix product, attention, all-reduce, and constant overheads.

All functions take `work` (see `work.Work`) and the coefficients by name, and return seconds, one number a point.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from whichbits.prediction.model.work import Floats, Work

Values = Mapping[str, float]

TILE = 128
"""Rows and columns of a result that one multiprocessor computes at a time."""


def bandwidth(work: Work, values: Values) -> Floats:
    """Bytes a second that matrix products draw from memory."""
    share = values["memory_efficiency"] * work.memory_class.pick(values, "memory_efficiency.{}", 1.0)
    return work.bandwidth * share * work.device.pick(values, "device.{}.memory", 1.0)


def _compute(work: Work, values: Values, *, format16: bool) -> Floats:
    """Operations a second that large matrix products reach, in the format's number type or in 16 bit."""
    peak, sustained, kind = (
        (work.rate16, work.sustained16, work.rate16_class) if format16 else (work.rate, work.sustained, work.rate_class)
    )
    share = values["compute_efficiency"] * sustained * kind.pick(values, "compute_efficiency.{}", 1.0)
    return peak * share * work.device.pick(values, "device.{}.compute", 1.0)


def host_time(work: Work, values: Values) -> Floats:
    """Time of host code relative to the hosts of the Ampere years."""
    return work.host_time * work.device.pick(values, "device.{}.host", 1.0)


def _overlapped(memory: Floats, compute: Floats, values: Values) -> Floats:
    p = values["overlap"]
    larger = np.maximum(np.maximum(memory, compute), 1e-30)
    result: Floats = larger * ((memory / larger) ** p + (compute / larger) ** p) ** (1 / p)
    return result


def linear_layers(work: Work, values: Values, tokens: Floats) -> Floats:
    """All matrix products of all layers for a step of `tokens` tokens.

    A product of m tokens with an n × k matrix reads its weights and m (n + k) activations and does 2 m n k operations, and as
    many more as tiles leave multiprocessors idle at its end; of E experts with a active, E (1 − (1 − a/E)^m) are read. Start
    and end of a tile take as long in every number type, so a quicker type gains less where k is small. A kernel whose
    multiprocessors take whole columns of tiles draws less from memory where there are few columns; one that gives each an equal
    stripe of all tiles leaves none idle.
    """
    m = tokens[:, None]
    n, k = work.width_out, work.width_in
    copies = np.maximum(work.copies, 1e-9)
    touched = work.copies * (1 - (1 - work.active / copies) ** m)
    weights = touched * n * k
    moved = weights * work.weight_bytes[:, None] + work.active * m * (k * work.activation_bytes[:, None] + 2 * n)
    tiles = np.maximum(touched * n / TILE, 1e-9)
    starved = values["starved"] * (work.whole_columns * work.units)[:, None] / tiles
    memory = moved / bandwidth(work, values)[:, None] * (1 + starved)
    unpacked = np.where(work.striped > 0, values["unpacked_compute.striped"], values["unpacked_compute"])
    reached = _compute(work, values, format16=False) * np.where(work.packed > 0, unpacked, 1.0)
    idle = values["idle_tiles"] * (1 - work.striped) * work.units
    idle = idle[:, None] * TILE**2 * np.minimum(1, m / TILE) * (work.copies > 0)
    depth = (values["tile_depth"] * work.rate / work.rate16)[:, None]
    compute = 2 * (k + depth) * (m * work.active * n + idle) / reached[:, None]
    fixed = (work.copies > 0) * (work.kernel.pick(values, "gemm_cycles.{}") / work.clock)[:, None]
    layer: Floats = (work.share * (fixed + _overlapped(memory, compute, values))).sum(axis=1)
    result: Floats = work.layers * layer
    return result


def lm_head(work: Work, values: Values, sequences: Floats) -> Floats:
    """The last product, in 16 bit, for one token of each sequence."""
    weights = work.vocab * work.hidden
    moved = 2 * (weights + sequences * (work.hidden + work.vocab))
    compute = 2 * sequences * weights / _compute(work, values, format16=True)
    return values["gemm_cycles.dense16"] / work.clock + _overlapped(moved / bandwidth(work, values), compute, values)


def all_reduce(work: Work, values: Values, tokens: Floats) -> Floats:
    """Two all-reduces of 16-bit activations a layer over the tensor-parallel devices (a ring, or its equal in bytes)."""
    moved = tokens * work.hidden * 2 * 2 * (work.tensor - 1) / work.tensor
    efficiency = work.link_class.pick(values, "link_efficiency.{}") * np.where(work.early > 0, values["link_early"], 1.0)
    latency = work.link_class.pick(values, "link_latency.{}") * np.log2(work.tensor)
    time: Floats = 2 * work.layers * np.where(work.tensor > 1, latency + moved / (work.link * efficiency), 0.0)
    return time


def elementwise(work: Work, values: Values, tokens: Floats) -> Floats:
    """What lies between the matrix products and is bound by memory, relative to the least bytes that it moves.

    Two norms with their residuals read and write the hidden state four times each, on every device; the activation function and
    attention read twice and write once. Where activations are quantized on their own, each product's input costs as much as
    9 bytes a number (measured with FP8 products of 1024 to 28672 columns, whose time at zero columns it is).
    """
    moved = 16 * work.hidden + 6 * work.inner_width + work.quantizes * 9 * (2 * work.hidden + work.inner_width)
    time: Floats = work.layers * tokens * moved * values["elementwise"] / bandwidth(work, values)
    return time


def attended(work: Work, context: Floats) -> Floats:
    """Mean length that a layer attends to, where some layers see a sliding window only."""
    return context * (1 - work.window_share) + np.minimum(context, work.window) * work.window_share


def decode(work: Work, values: Values, sequences: Floats, context: Floats, prompt_tokens: Floats | float = 0.0) -> Floats:
    """One decode step of `sequences` sequences of mean length `context` and `prompt_tokens` tokens of prompts."""
    tokens = sequences + prompt_tokens
    reading = work.layers * sequences * attended(work, context) * work.kv_token_bytes
    cycles = work.engine.pick(values, "layer_cycles.{}") + work.quantizes * values["quantize_cycles"]
    host = work.engine.pick(values, "step_host.{}") + sequences * sequence_host(work, values)
    time = (
        linear_layers(work, values, tokens)
        + lm_head(work, values, sequences)
        + all_reduce(work, values, tokens)
        + reading / (work.bandwidth * values["attention_bandwidth"])
        + prompt_tokens * prompt_attention(work, values) / work.prompt
        + work.layers * cycles / work.clock
        + elementwise(work, values, tokens)
        + host * host_time(work, values)
        + (work.pipeline - 1) * values["stage_latency"]
    )
    # Without graphs the host launches layer after layer; the device has the last one left when all are launched.
    launches = 1 + work.quantizes * values["quantize_host"]
    eager = work.layers * values["eager_host"] * launches * host_time(work, values) + time / work.layers
    return np.where(context > work.graph_limit, np.maximum(time, eager), time)


def sequence_host(work: Work, values: Values) -> Floats:
    """Host time of a decode step for each sequence, at the host speed of the Ampere years.

    vLLM before 0.8 prepares a step in one process, which then sends what it says of each sequence to the other devices of a
    tensor-parallel group and to the other nodes (the stages of a pipeline).
    """
    sent = work.early * (values["worker_host"] * (work.tensor - 1) + values["node_host"] * (work.pipeline - 1))
    return work.host_engine.pick(values, "sequence_host.{}") * (1 + sent)


def prompt_attention(work: Work, values: Values) -> Floats:
    """Attention of one whole prompt: half of a square of scores, computed twice (with keys, with values)."""
    operations = 2 * work.layers * work.prompt * attended(work, work.prompt) * work.head_width
    return operations / (work.rate16 * values["attention_compute"])


def prefill(work: Work, values: Values, tokens: Floats) -> Floats:
    """One prompt, computed in steps of `tokens` tokens: fewer than the prompt has (chunks) or more (several prompts a step)."""
    steps = work.prompt / tokens
    launch = work.layers * values["prefill_host"] * host_time(work, values)
    device = linear_layers(work, values, tokens) + all_reduce(work, values, tokens) + elementwise(work, values, tokens)
    whole = steps * (device + launch)
    return whole + prompt_attention(work, values) + request(work, values)


def request(work: Work, values: Values) -> Floats:
    """Host time of one request."""
    return values["request_host"] * host_time(work, values)
