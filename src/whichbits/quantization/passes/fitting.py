"""A format fitted to the model that is to be stored in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import get
from whichbits.formats.format import Format, fit
from whichbits.formats.mixed import choose, mix
from whichbits.models.configuration import read_configuration
from whichbits.quantization.model.structure import layer_linears, tensor_shapes
from whichbits.quantization.recipe.recipe import Recipe

SHARD_BYTES = 2**30
"""Size of a file of weights."""

Progress = Callable[[int, int], None]
"""Is told how many of all are done."""


def fit_to(base: Path, format: Format, recipe: Recipe, *, trust_remote_code: bool = False) -> tuple[Format, list[list[str]]]:
    """`format` fitted to the model in `base`, and the names of the weights to quantize, layer by layer.

    Layers for which `recipe` has another format become parts of the fitted one. Raises UserError.
    """
    if format.weights is None or format.refused:
        reason = format.refused or "it is the base itself"
        raise UserError(f"format {format.name} cannot be written: {reason}", remedy="choose another format")
    shapes = tensor_shapes(base)
    layers = layer_linears(read_configuration(base, trust_remote_code=trust_remote_code), shapes)
    modules = {name.removesuffix(".weight"): (shapes[name][0], shapes[name][1]) for layer in layers for name in layer}
    if not recipe.layers:
        return fit(format, modules.values(), group_size=recipe.group_size), layers
    chosen = choose(format.name, [(choice.match, choice.format) for choice in recipe.layers], modules)
    formats = {name: get(name) for name in {*chosen.values()} - {format.name}} | {format.name: format}
    kept = {f"{module}.weight" for module, name in chosen.items() if formats[name].is_base}
    fitted = mix(format, formats, chosen, modules, recipe.group_size)
    return fitted, [[name for name in layer if name not in kept] for layer in layers]
