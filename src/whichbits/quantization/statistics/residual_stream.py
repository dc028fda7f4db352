"""Which linear layers of a decoder layer add to the residual stream, and where the stream is seen before they do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from whichbits.quantization.model.decoder import hooked, norms
from whichbits.quantization.model.replicas import Replica, run

if TYPE_CHECKING:
    import torch

EXPLAINED = 0.95
"""Share of the stream's change that a module's output has to explain, numbers in 16 bit as they are."""


@dataclass(frozen=True)
class Adding:
    """How a linear layer adds to the stream: its output times `gain`, to the input of the norm `before` (None: the layer's)."""

    before: str | None
    gain: float


def adding(replica: Replica, linears: Iterable[str], hidden: torch.Tensor) -> dict[str, Adding]:
    """Those of `linears` (names within the layer) whose output is added to the residual stream, seen on `hidden`.

    `hidden` [samples, length, width] reaches the filled layer of `replica`. The stream is seen where it enters the layer, where
    a norm takes it in, and where it leaves; a module adds to it where its output is what the stream changes by from one of
    these to the next. One whose output is normalised first (Gemma 2), or one of many experts, does not.
    """
    found: dict[str, Adding] = {}
    place: str | None = None
    stream = hidden
    since: dict[str, torch.Tensor] = {}

    def look(norm: str | None, seen: torch.Tensor) -> None:
        nonlocal place, stream
        for name, output in since.items():
            gain = _gain(stream.float(), seen.float(), output.float())
            if gain is not None:
                found[name] = Adding(place, gain)
                place, stream = norm, seen
                since.clear()
                return

    def note_norm(name: str, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].shape == hidden.shape and not any(args[0] is output for output in since.values()):
            look(name, args[0])

    def note_output(name: str, module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        if output.shape == hidden.shape:
            since[name] = output

    hooks = [(norm.register_forward_pre_hook, partial(note_norm, name)) for name, norm in norms(replica.layer)]
    hooks += [(replica.layer.get_submodule(name).register_forward_hook, partial(note_output, name)) for name in linears]
    with hooked(hooks):
        (last,) = run([replica], [hidden])
    look(None, last)
    return found


def _gain(before: torch.Tensor, after: torch.Tensor, output: torch.Tensor) -> float | None:
    """The factor with which `output` makes `before` to `after`, None where it does not.

    Numbers are weighed by the inverse of the stream's, to whose size rounding errors are proportional.
    """
    size = before.abs() + after.abs()
    size = size.clamp(min=float(size.mean()) * 1e-3)
    change, output = (after - before) / size, output / size
    gain = float((change * output).sum() / output.square().sum())
    left = float((change - gain * output).square().sum() / change.square().sum())
    return gain if left < 1 - EXPLAINED else None
