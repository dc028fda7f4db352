"""A decoder layer whose linear layers have inputs divided by scales, which are merged into what comes before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import ATTENTION, EXPERTS, MLPS
from whichbits.quantization.statistics.forward import InputStatistics

if TYPE_CHECKING:
    import torch


def rescale(
    tensors: Mapping[str, torch.Tensor],
    statistics: Sequence[InputStatistics],
    offsets: Mapping[str, float],
    find: Callable[[InputStatistics, Mapping[str, torch.Tensor]], torch.Tensor],
    head: int | None = None,
) -> tuple[dict[str, torch.Tensor], list[InputStatistics]]:
    """A decoder layer that computes the same with inputs of its linear layers divided by scales, and the statistics of those.

    `tensors` are the layer's by name within it. Inputs that come out of a norm, and the input of `down_proj` in a gated MLP
    (which is linear in `up_proj`'s output), are divided by what `find` says for the statistics of an input and the weights that
    read it, by name; others stay. So is the input of `o_proj` where the width of a `head` is given, alike for the heads that
    share a value. `offsets` is what each norm adds to its weight (1 in Gemma). A norm before a mixture of experts stays: it
    feeds the router and all experts besides. Raises UserError where no input comes out of a norm.
    """
    result = dict(tensors)
    smoothed = []
    norms = [None if _beside_experts(fed.modules, result) else fed.norm for fed in statistics]
    if not any(norms):
        raise UserError(
            "no norm of the model feeds a linear layer, so there is nothing that the scales of its inputs can be merged into",
            remedy="leave smoothing and awq out, or write balancing: null",
        )
    for fed, norm in zip(statistics, norms, strict=True):
        weights = [f"{module}.weight" for module in fed.modules]
        rows = None if norm else _up_rows(fed.modules, result)
        values = None if norm or head is None else _value_rows(fed.modules, result)
        if norm is None and rows is None and values is None:
            smoothed.append(fed)
            continue
        scale = find(fed, {name: result[name] for name in weights})
        if norm:
            scale = _divide_norm(result, norm, scale, offsets[norm])
        elif rows:
            _divide_rows(result, smoothed, *rows, scale)
        elif values and head:
            heads = scale.reshape(values.height // head, -1, head).log().mean(dim=1, keepdim=True).exp()
            _divide_rows(result, smoothed, values.module, values.first, heads.flatten())
            scale = heads.expand(-1, len(scale) // values.height, -1).flatten()
        for name in weights:
            result[name] = (result[name].float() * scale).to(result[name].dtype)
        new = InputStatistics(
            fed.hessian / scale.outer(scale),
            fed.largest / scale,
            fed.modules,
            fed.norm,
            None if fed.cross is None else fed.cross / scale.outer(scale),
            fed.fourth / scale**4,
        )
        new.curvature = fed.curvature
        new.residual = {module: residual / scale for module, residual in fed.residual.items()}
        smoothed.append(new)
    return result, smoothed


def _beside_experts(modules: Sequence[str], tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether one of the `modules` stands beside experts, in their block: DeepSeek's shared experts."""
    blocks = {name.partition(EXPERTS)[0] for name in tensors if EXPERTS in name}
    return any(module.startswith(f"{block}.") and EXPERTS not in module for module in modules for block in blocks)


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
    if modules != [modules[0]] or own not in [mlp.down for mlp in MLPS]:
        return None
    for mlp in MLPS:
        if {f"{parent}.{mlp.gate}.weight", f"{parent}.{mlp.up}.weight"} <= set(tensors):
            return f"{parent}.{mlp.up}", 0
    for mlp in MLPS:
        if mlp.fused and (fused := tensors.get(f"{parent}.{mlp.fused}.weight")) is not None:
            return f"{parent}.{mlp.fused}", fused.shape[0] // 2
    return None


@dataclass(frozen=True)
class _Values:
    """The `height` rows from `first` on of `module`, which make the values that attention averages."""

    module: str
    first: int
    height: int


def _value_rows(modules: Sequence[str], tensors: Mapping[str, torch.Tensor]) -> _Values | None:
    """The rows that make the values behind `o_proj`'s input, which is linear in them."""
    parent, _, own = modules[0].rpartition(".")
    separate, fused = (tensors.get(f"{parent}.{name}.weight") for name in (ATTENTION.value, ATTENTION.fused))
    if modules != [modules[0]] or own != ATTENTION.output:
        return None
    if separate is not None:
        return _Values(f"{parent}.{ATTENTION.value}", 0, separate.shape[0])
    if fused is None:
        return None
    height = (fused.shape[0] - tensors[f"{modules[0]}.weight"].shape[1]) // 2
    return _Values(f"{parent}.{ATTENTION.fused}", fused.shape[0] - height, height)


def _divide_rows(
    tensors: dict[str, torch.Tensor], statistics: Iterable[InputStatistics], module: str, first: int, scale: torch.Tensor
) -> None:
    """Divide the outputs of `module` from `first` on, and note in its `statistics` that their errors matter so much more."""
    import torch

    for name in (f"{module}.weight", f"{module}.bias"):
        if name in tensors:
            exact = tensors[name].to(torch.float32, copy=True)
            exact[first : first + len(scale)] /= scale.reshape(-1, *[1] * (exact.dim() - 1))
            tensors[name] = exact.to(tensors[name].dtype)
    for fed in statistics:
        if module in fed.curvature:
            factor = fed.curvature[module].new_ones(len(fed.curvature[module]))
            factor[first : first + len(scale)] = scale
            fed.curvature = {**fed.curvature, module: fed.curvature[module] * factor.outer(factor)}
