"""Layer sensitivity: the measured error of each format at each unit of a model, which a budget is spent by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import layer_prefix
from whichbits.formats.format import Format, fit
from whichbits.formats.mixed import targets, unit
from whichbits.quantization.mixed_precision.knapsack import Option, assign
from whichbits.quantization.model.decoder import empty, empty_model, fill, first_inputs
from whichbits.quantization.model.devices import computing_devices
from whichbits.quantization.model.replicas import Replica, filled, run
from whichbits.quantization.model.tensors import layer_tensors, outside_layers
from whichbits.quantization.passes.forward_check import check_agreement
from whichbits.quantization.recipe.recipe import LayerChoice, Recipe
from whichbits.quantization.rounding.fake_quantize import activations_quantized
from whichbits.quantization.rounding.weight import global_scales, round_weight
from whichbits.quantization.transforms.base_tensors import base_tensors

if TYPE_CHECKING:
    import torch

Weights = Mapping[str, "torch.Tensor"]


def measure(
    base: Path,
    layers: Sequence[Sequence[str]],
    formats: Sequence[Format],
    tokens: torch.Tensor,
    recipe: Recipe,
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Option]:
    """An option for each unit of modules (see `mixed.unit`) and each of `formats` that fits it, from one walk through `base`.

    The error is how much the hidden states behind the layer change when the unit alone is quantized, as the mean over `tokens`
    [samples, length] of |change|^2 / |hidden state|^2. Such changes add up along the residual stream as long as they are small
    and independent. Weights are rounded to nearest; activations are quantized as `simulate` does it. `layers` are the names
    of the weights, layer by layer; `recipe` gives group size and rotation; `on_progress(done, all)` counts layers. Raises
    UserError where no format fits a unit, or the model is not understood.
    """
    computing = computing_devices(device)[0]
    check_agreement(base, [recipe], device=computing, trust_remote_code=trust_remote_code)
    decoder = empty_model(base, trust_remote_code=trust_remote_code, device=computing)
    tensors = base_tensors(base, recipe, computing)
    hidden, calls = first_inputs(decoder, outside_layers(tensors), tokens)
    options: list[Option] = []
    for number, (layer, call) in enumerate(zip(decoder.layers, calls, strict=True)):
        prefix = layer_prefix(number)
        own = layer_tensors(tensors, number)
        replicas = filled(layer, own, call, [computing])
        outputs = run(replicas, hidden)
        for name, weights in _units(layers[number], tensors).items():
            fitting = list(_fitting(formats, weights, recipe))
            if not fitting:
                raise UserError(
                    f"none of the formats fits {name}", remedy="add one with a scale for each channel, such as w8a8-int"
                )
            for format in fitting:
                bits = sum(format.bits_per_weight(*weight.shape) * weight.numel() for weight in weights.values())
                rounded = _rounded(weights, format)
                fill(layer, own | {key.removeprefix(prefix): weight for key, weight in rounded.items()})
                read = [layer.get_submodule(key.removeprefix(prefix).removesuffix(".weight")) for key in weights]
                with activations_quantized(read, format.activations):
                    change = _change(replicas, hidden, outputs) if rounded else 0.0
                options.append(Option(name, format.name, bits, change))
            fill(layer, own)
        hidden = outputs
        empty(layer)
        if on_progress:
            on_progress(number + 1, len(calls))
    return options


def spend(
    layers: Sequence[Sequence[str]], options: Sequence[Option], *, bits: float | None = None, error: float | None = None
) -> tuple[str, tuple[LayerChoice, ...]]:
    """The format that most modules get under a budget (as `budget.assign` has it), and the choices for the others.

    With that format and these choices as a recipe's `layers` the checkpoint is made. `layers` are the names of the weights.
    """
    chosen = assign(options, bits=bits, error=error)
    modules: dict[str, list[str]] = defaultdict(list)
    for name in (name for layer in layers for name in layer):
        modules[chosen[unit(name.removesuffix(".weight"))]].append(name.removesuffix(".weight"))
    own = max(modules, key=lambda format: len(modules[format]))
    others = [(pattern, format) for format in sorted(modules) if format != own for pattern in targets(modules[format])]
    return own, tuple(LayerChoice(match=pattern, format=format) for pattern, format in others)


def _units(names: Iterable[str], tensors: Weights) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of each unit of a layer, by full name."""
    units: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name in names:
        units[unit(name.removesuffix(".weight"))][name] = tensors[name]
    return units


def _fitting(formats: Iterable[Format], weights: Weights, recipe: Recipe) -> Iterator[Format]:
    """The formats fitted to the weights, those left out that do not fit."""
    shapes = [(weight.shape[0], weight.shape[1]) for weight in weights.values()]
    for format in formats:
        try:
            yield (
                format if format.is_base else fit(format, shapes, group_size=recipe.group_size if format.group_sizes else None)
            )
        except UserError:
            continue


def _rounded(weights: Weights, format: Format) -> dict[str, torch.Tensor]:
    """The weights rounded to nearest, in their dtype; nothing where the format is a base's."""
    if format.weights is None:
        return {}
    shared = global_scales(weights) if format.weights.strategy == "tensor_group" else {}
    rounded = {name: round_weight(weight, format.weights, Recipe(), None, shared.get(name)) for name, weight in weights.items()}
    return {name: each.weight.to(weights[name].dtype) for name, each in rounded.items()}


def _change(replicas: Sequence[Replica], inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> float:
    """Mean over tokens of the squared change of the layer's outputs, relative to them."""
    import torch

    changed = run(replicas, inputs)
    differences = torch.cat(
        [(after.float() - before.float()).square().sum(-1) for after, before in zip(changed, outputs, strict=True)]
    )
    lengths = torch.cat([before.float().square().sum(-1) for before in outputs])
    return float((differences / lengths).mean())
