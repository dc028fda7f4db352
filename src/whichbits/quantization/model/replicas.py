"""A decoder layer filled once on each of several devices, which take the batches of samples in turn."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.quantization.model.decoder import Call, fill

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Replica:
    """A filled layer on a device, and what it is called with there."""

    layer: torch.nn.Module
    call: Call
    device: str = "cpu"


def filled(layer: torch.nn.Module, tensors: Mapping[str, torch.Tensor], call: Call, devices: Sequence[str]) -> list[Replica]:
    """`layer`, filled with `tensors` by their name within it on the first of `devices`, and copies of it on the others.

    `call` is on the first as well. Raises UserError as `fill`.
    """
    from accelerate.utils import send_to_device

    replicas = [Replica(layer, call, devices[0])]
    for device in devices[1:]:
        # Parameters are not copied: the copy gets its own when it is filled.
        own = copy.deepcopy(layer, {id(parameter): parameter for parameter in layer.parameters()})
        there = Call(send_to_device(call.args, device), send_to_device(dict(call.kwargs), device))
        replicas.append(Replica(own, there, device))
    refill(replicas, tensors)
    return replicas


def refill(replicas: Sequence[Replica], tensors: Mapping[str, torch.Tensor]) -> None:
    """Fill all replicas with `tensors` in place of what they hold."""
    for replica in replicas:
        fill(replica.layer, {name: tensor.to(replica.device) for name, tensor in tensors.items()})
        replica.layer.to(replica.device)  # buffers


def in_turn(batches: Iterable[torch.Tensor], devices: Sequence[str]) -> list[torch.Tensor]:
    """The batches of samples, each on the device whose replica runs it."""
    return [batch.to(devices[number % len(devices)]) for number, batch in enumerate(batches)]


def run(replicas: Sequence[Replica], inputs: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs of a layer for each of `inputs` [samples, length, width], placed `in_turn`; of several outputs, the first."""
    import torch

    outputs = []
    with torch.no_grad():
        for number, hidden in enumerate(inputs):
            replica = replicas[number % len(replicas)]
            output = replica.layer(hidden, *replica.call.args, **replica.call.kwargs)
            outputs.append(output[0] if isinstance(output, tuple) else output)
    return outputs
