"""Questions put to the predictor, and the same as columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whichbits.hardware.catalogue import Hardware
from whichbits.models.shape import Shape
from whichbits.prediction.model.kernels import Engine, Kernel, data, rate, rate16

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """How the devices are split: `tensor` × `pipeline` devices hold one copy of the model, `replicas` copies share the load."""

    tensor: int
    pipeline: int = 1
    replicas: int = 1


@dataclass(frozen=True)
class Point:
    """One model in one format on one deployment under one load.

    `concurrency` is the number of requests in flight over all replicas; infinity stands for as many as the engine takes.
    """

    shape: Shape
    kernel: Kernel
    hardware: Hardware
    engine: Engine
    layout: Layout
    prompt: float
    output: float
    concurrency: float


@dataclass(frozen=True)
class Labels:
    """A column of names, as the distinct ones and each row's place among them."""

    names: tuple[str, ...]
    index: NDArray[np.intp]

    def pick(self, values: Mapping[str, float], template: str, default: float | None = None) -> Floats:
        """Each row's coefficient `template` with its name for `{}`, or `default` where there is none."""
        chosen = [
            values[template.format(n)] if default is None else values.get(template.format(n), default) for n in self.names
        ]
        return np.array(chosen, dtype=np.float64)[self.index]


def labels(names: Sequence[str]) -> Labels:
    """The column of `names`."""
    distinct = {name: position for position, name in enumerate(dict.fromkeys(names))}
    return Labels(tuple(distinct), np.array([distinct[name] for name in names], dtype=np.intp))


@dataclass(frozen=True)
class Work:
    """Points as columns; rows are points, all sizes those of one device's share.

    `width_out`, `width_in` are n and k of the matrix products of a layer (columns: qkv, attention output, gate and up, down,
    and where a model has them two of shared experts and two of layers without experts), `copies` the experts each has, `active`
    how many a token visits, and `share` the share of the layers that have it.
    `inner_width` is that of what is computed between the products: attention's output and the activation function's.
    """

    width_out: Floats
    width_in: Floats
    copies: Floats
    active: Floats
    share: Floats
    layers: Floats
    hidden: Floats
    vocab: Floats
    head_width: Floats
    inner_width: Floats
    kv_token_bytes: Floats
    window: Floats
    window_share: Floats
    weight_bytes: Floats
    activation_bytes: Floats
    resident_bytes: Floats
    bandwidth: Floats
    clock: Floats
    units: Floats
    memory: Floats
    rate: Floats
    rate16: Floats
    link: Floats
    tensor: Floats
    pipeline: Floats
    replicas: Floats
    prompt: Floats
    output: Floats
    concurrency: Floats
    graph_limit: Floats
    step_tokens: Floats
    sequences: Floats
    early: Floats
    host_time: Floats
    sustained: Floats
    sustained16: Floats
    quantizes: Floats
    mixes: Floats
    packed: Floats
    striped: Floats
    whole_columns: Floats
    kernel: Labels
    engine: Labels
    host_engine: Labels
    memory_class: Labels
    rate_class: Labels
    rate16_class: Labels
    link_class: Labels
    device: Labels


def memory_class(hardware: Hardware) -> str:
    """Class of a device's memory efficiency: GDDR is alike over generations, HBM is not."""
    return "gddr" if hardware.memory_kind == "gddr" else f"{hardware.architecture}-{hardware.memory_kind}"


def _sustained(hardware: Hardware, kind: str) -> float:
    table = data()["sustained"]
    return float(table.get(hardware.architecture, {}).get(kind, table["other"][kind]))


def _matrices(point: Point) -> list[tuple[float, float, float, float, float]]:
    """(n, k, copies, active copies, share of the layers) of the matrix products of a layer on one device."""
    shape, tensor = point.shape, point.layout.tensor
    qkv = (shape.heads / tensor + 2 * max(1.0, shape.kv_heads / tensor)) * shape.head_dim
    ffn, shared, dense = shape.ffn / tensor, shape.shared_ffn / tensor, shape.dense_ffn / tensor
    experts, active = max(1, shape.experts), max(1, shape.active_experts)
    has_shared, has_dense = float(shape.shared_ffn > 0), float(shape.dense_layers > 0)
    inward, without = 2 if shape.gated else 1, shape.dense_layers / shape.layers
    return [
        (qkv, shape.hidden, 1, 1, 1),
        (shape.hidden, shape.heads * shape.head_dim / tensor, 1, 1, 1),
        (inward * ffn, shape.hidden, experts, active, 1 - without),
        (shape.hidden, ffn, experts, active, 1 - without),
        (inward * shared, shape.hidden, has_shared, has_shared, 1 - without),
        (shape.hidden, shared, has_shared, has_shared, 1 - without),
        (inward * dense, shape.hidden, has_dense, has_dense, without),
        (shape.hidden, dense, has_dense, has_dense, without),
    ]


def _inner_width(point: Point) -> float:
    shape, without = point.shape, point.shape.dense_layers / point.shape.layers
    routed = shape.ffn * max(1, shape.active_experts) + shape.shared_ffn
    inner = shape.heads * shape.head_dim + (1 - without) * routed + without * shape.dense_ffn
    return inner / point.layout.tensor


def resident_bytes(shape: Shape, kernel: Kernel) -> float:
    """Bytes of all weights: quantized blocks, 16-bit embedding and lm_head."""
    embeddings = shape.hidden * shape.vocab * 2 * (1 if shape.tied else 2)
    return shape.block_parameters * kernel.weight_bytes + embeddings


def columns(points: Sequence[Point]) -> Work:
    """The points as columns."""

    def column(values: Sequence[float]) -> Floats:
        return np.array(values, dtype=np.float64)

    shapes, kernels = [p.shape for p in points], [p.kernel for p in points]
    devices, layouts, engines = [p.hardware for p in points], [p.layout for p in points], [p.engine for p in points]
    matrices = np.array([_matrices(p) for p in points], dtype=np.float64).reshape(len(points), 8, 5)
    matrices = matrices[:, matrices[:, :, 2].any(axis=0)]
    host_time = data()["host_time"]
    limits = [p.engine.limits(p.hardware) for p in points]
    return Work(
        width_out=matrices[:, :, 0],
        width_in=matrices[:, :, 1],
        copies=matrices[:, :, 2],
        active=matrices[:, :, 3],
        share=matrices[:, :, 4],
        layers=column([s.layers for s in shapes]),
        hidden=column([s.hidden for s in shapes]),
        vocab=column([p.shape.vocab / p.layout.tensor for p in points]),
        head_width=column([p.shape.heads * p.shape.head_dim / p.layout.tensor for p in points]),
        inner_width=column([_inner_width(p) for p in points]),
        kv_token_bytes=column([p.shape.kv_width * p.kernel.kv_bytes / min(p.layout.tensor, p.shape.kv_heads) for p in points]),
        window=column([s.sliding_window or np.inf for s in shapes]),
        window_share=column([s.sliding_layers / s.layers for s in shapes]),
        weight_bytes=column([k.weight_bytes for k in kernels]),
        activation_bytes=column([k.activation_bytes for k in kernels]),
        resident_bytes=column([resident_bytes(p.shape, p.kernel) / (p.layout.tensor * p.layout.pipeline) for p in points]),
        bandwidth=column([h.bandwidth for h in devices]),
        clock=column([h.clock_hz for h in devices]),
        units=column([h.units for h in devices]),
        memory=column([h.memory for h in devices]),
        rate=column([rate(p.kernel, p.hardware) or np.nan for p in points]),
        rate16=column([rate16(h) for h in devices]),
        link=column([h.link for h in devices]),
        tensor=column([x.tensor for x in layouts]),
        pipeline=column([x.pipeline for x in layouts]),
        replicas=column([x.replicas for x in layouts]),
        prompt=column([p.prompt for p in points]),
        output=column([p.output for p in points]),
        concurrency=column([p.concurrency for p in points]),
        graph_limit=column([e.graph_limit for e in engines]),
        step_tokens=column([limit[0] for limit in limits]),
        sequences=column([limit[1] for limit in limits]),
        early=column([float(e.early) for e in engines]),
        host_time=column([host_time.get(h.architecture, host_time["other"]) for h in devices]),
        sustained=column([_sustained(p.hardware, p.kernel.rate) for p in points]),
        sustained16=column([_sustained(h, "bf16") for h in devices]),
        quantizes=column([float(p.kernel.activation_bytes < 2 and not p.engine.fuses_quantization) for p in points]),
        mixes=column([float(e.mixes_prompts) for e in engines]),
        packed=column([float(k.kind == "packed4") for k in kernels]),
        striped=column([float(h.architecture in k.striped) for k, h in zip(kernels, devices, strict=True)]),
        whole_columns=column([float(h.architecture in k.whole_columns) for k, h in zip(kernels, devices, strict=True)]),
        kernel=labels([k.kind for k in kernels]),
        engine=labels([e.name for e in engines]),
        host_engine=labels([e.generation for e in engines]),
        memory_class=labels([memory_class(h) for h in devices]),
        rate_class=labels([f"{p.hardware.architecture}.{p.kernel.rate}" for p in points]),
        rate16_class=labels([f"{h.architecture}.bf16" for h in devices]),
        link_class=labels(["pcie" if h.link_kind.startswith("pcie") else "nvlink" for h in devices]),
        device=labels([h.id for h in devices]),
    )
