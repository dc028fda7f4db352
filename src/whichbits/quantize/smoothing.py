"""SmoothQuant: part of the activations' range moved into the weights, by scales merged into what comes before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from whichbits.errors import UserError
from whichbits.quantize.observe import InputStatistics

if TYPE_CHECKING:
    import torch

SMALLEST = 1e-5
"""Least scale, as in the published implementations."""


def smoothing_scale(largest_input: torch.Tensor, largest_weight: torch.Tensor, strength: float) -> torch.Tensor:
    """What each column of the input is divided by, and of the weight multiplied with; float32 [columns].

    `largest_input` and `largest_weight` are the largest magnitudes of each column; a column of zeros in either stays as it is.
    `strength` 0 moves nothing of the input's range into the weights, 1 all of it.
    Source: SmoothQuant (Xiao et al., arXiv 2211.10438), equation 4.
    """
    import torch

    scale = largest_input.pow(strength) / largest_weight.pow(1 - strength)
    empty = (largest_input == 0) | (largest_weight == 0)
    return torch.where(empty, 1.0, scale.clamp(min=SMALLEST))


def smooth(
    tensors: Mapping[str, torch.Tensor],
    statistics: Sequence[InputStatistics],
    strength: float,
    offsets: Mapping[str, float],
) -> tuple[dict[str, torch.Tensor], list[InputStatistics]]:
    """A decoder layer that computes the same with smoother inputs of its linear layers, and the statistics of those.

    Arguments as those of `rescale`.
    """
    import torch

    def find(fed: InputStatistics, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        largest = torch.stack([weight.abs().amax(dim=0) for weight in weights.values()]).amax(dim=0).to(torch.float32)
        return smoothing_scale(fed.largest, largest, strength)

    return rescale(tensors, statistics, offsets, find)


def rescale(
    tensors: Mapping[str, torch.Tensor],
    statistics: Sequence[InputStatistics],
    offsets: Mapping[str, float],
    find: Callable[[InputStatistics, Mapping[str, torch.Tensor]], torch.Tensor],
) -> tuple[dict[str, torch.Tensor], list[InputStatistics]]:
    """A decoder layer that computes the same with inputs of its linear layers divided by scales, and the statistics of those.

    `tensors` are the layer's by name within it. Inputs that come out of a norm, and the input of `down_proj` in a gated MLP
    (which is linear in `up_proj`'s output), are divided by what `find` says for the statistics of an input and the weights that
    read it, by name; others stay. `offsets` is what each norm adds to its weight (1 in Gemma). Raises UserError where no input
    comes out of a norm.
    """
    result = dict(tensors)
    smoothed = []
    if not any(fed.norm for fed in statistics):
        raise UserError(
            "smoothing: no norm of the model feeds a linear layer, so its structure is not understood",
            remedy="leave smoothing out",
        )
    for fed in statistics:
        weights = [f"{module}.weight" for module in fed.modules]
        rows = None if fed.norm else _up_rows(fed.modules, result)
        if fed.norm is None and rows is None:
            smoothed.append(fed)
            continue
        scale = find(fed, {name: result[name] for name in weights})
        if fed.norm:
            scale = _divide_norm(result, fed.norm, scale, offsets[fed.norm])
        elif rows:
            _divide_rows(result, *rows, scale)
        for name in weights:
            result[name] = (result[name].float() * scale).to(result[name].dtype)
        smoothed.append(
            InputStatistics(
                fed.hessian / scale.outer(scale),
                fed.largest / scale,
                fed.modules,
                fed.norm,
                None if fed.cross is None else fed.cross / scale.outer(scale),
            )
        )
    return result, smoothed


def _divide_norm(tensors: dict[str, torch.Tensor], norm: str, scale: torch.Tensor, offset: float) -> torch.Tensor:
    """Divide the norm's output; returns the scale that its stored weight, rounded to 16 bit, comes to."""
    import torch

    weight = tensors[f"{norm}.weight"]
    gain = weight.to(torch.float32) + offset
    tensors[f"{norm}.weight"] = (gain / scale - offset).to(weight.dtype)
    stored = tensors[f"{norm}.weight"].to(torch.float32) + offset
    exact = torch.where((gain == 0) | (stored == 0), scale, gain / stored)
    bias = tensors.get(f"{norm}.bias")
    if bias is not None:
        tensors[f"{norm}.bias"] = (bias.to(torch.float32) / exact).to(bias.dtype)
    return exact


def _up_rows(modules: Sequence[str], tensors: Mapping[str, torch.Tensor]) -> tuple[str, int] | None:
    """The module that makes the factor of `down_proj`'s input without the gate, and the first of its rows that does."""
    parent, _, own = modules[0].rpartition(".")
    if modules != [modules[0]] or own not in ("down_proj", "w2"):
        return None
    for gate, up in (("gate_proj", "up_proj"), ("w1", "w3")):
        if {f"{parent}.{gate}.weight", f"{parent}.{up}.weight"} <= set(tensors):
            return f"{parent}.{up}", 0
    fused = tensors.get(f"{parent}.gate_up_proj.weight")
    return None if fused is None else (f"{parent}.gate_up_proj", fused.shape[0] // 2)


def _divide_rows(tensors: dict[str, torch.Tensor], module: str, first: int, scale: torch.Tensor) -> None:
    import torch

    for name in (f"{module}.weight", f"{module}.bias"):
        if name in tensors:
            exact = tensors[name].to(torch.float32, copy=True)
            exact[first:] /= scale.reshape(-1, *[1] * (exact.dim() - 1))
            tensors[name] = exact.to(tensors[name].dtype)
