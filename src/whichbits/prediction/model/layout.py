"""How a number of devices is split into tensor-parallel groups, pipeline stages and replicas."""

from __future__ import annotations

import math

from whichbits.hardware.catalogue import Hardware
from whichbits.models.shape import Shape
from whichbits.prediction.model.forward_pass import Values
from whichbits.prediction.model.kernels import Kernel
from whichbits.prediction.model.serving import MEMORY_UTILIZATION
from whichbits.prediction.model.work import Layout, resident_bytes


def room_for_tokens(shape: Shape, kernel: Kernel, hardware: Hardware, layout: Layout, values: Values, length: float) -> float:
    """Tokens (of sequences of `length`) that the KV cache of one replica holds; negative where the weights do not fit."""
    devices = layout.tensor * layout.pipeline
    free = hardware.memory * MEMORY_UTILIZATION - resident_bytes(shape, kernel) / devices - values["reserved_gb"] * 1e9
    share = shape.sliding_layers / shape.layers
    layers = shape.layers * (1 - share + share * min(shape.sliding_window / length, 1)) / layout.pipeline
    return free / (shape.kv_width * kernel.kv_bytes / min(layout.tensor, shape.kv_heads) * layers)


def divides(shape: Shape, tensor: int) -> bool:
    """Whether the attention heads can be split among `tensor` devices."""
    return shape.heads % tensor == 0 and (shape.kv_heads % tensor == 0 or tensor % shape.kv_heads == 0)


def _groups(
    shape: Shape, kernel: Kernel, hardware: Hardware, values: Values, tensor: int, groups: int, length: float
) -> list[Layout]:
    """`groups` tensor-parallel groups as replicas; where one fills a node, chained into any number of stages that holds a
    sequence, the fewest first."""
    deepest = groups if tensor >= hardware.node else 1
    split = [Layout(tensor, d, groups // d) for d in range(1, deepest + 1) if groups % d == 0]
    return [layout for layout in split if room_for_tokens(shape, kernel, hardware, layout, values, length) >= length]


def layouts(
    shape: Shape,
    kernel: Kernel,
    hardware: Hardware,
    count: int,
    tensor: int | None,
    values: Values,
    *,
    length: float,
    at_most: bool,
) -> list[Layout]:
    """Ways to run the model on `count` devices, empty where none holds one sequence of `length` tokens.

    A given `tensor` makes groups of that many: replicas, or stages where they fill a node and one does not hold the model.
    Without it, all devices of a node form one group, and further nodes are pipeline stages; for the highest rate (`at_most`)
    every split into replicas is a candidate as well.
    """
    if tensor is not None:
        sizes = [tensor]
    elif at_most:
        sizes = [d for d in range(1, min(count, hardware.node) + 1) if count % d == 0 and divides(shape, d)]
    else:
        sizes = [math.gcd(count, hardware.node) if count > hardware.node else count]
    found = []
    for size in sizes:
        if not divides(shape, size):
            continue
        if tensor is None and not at_most:
            whole = Layout(size, count // size)
            fits = room_for_tokens(shape, kernel, hardware, whole, values, length) >= length
            found += [whole] if fits else []
        else:
            fitting = _groups(shape, kernel, hardware, values, size, count // size, length)
            found += fitting if at_most else fitting[:1]
    return found
