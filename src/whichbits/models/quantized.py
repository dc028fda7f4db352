"""A quantized checkpoint's tensors against what its config.json declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.codes import CODES, SCALES, Layout, is_code, signs_of_codes, weights_of_codes
from whichbits.formats.checkpoint.files import Stored
from whichbits.models.configuration import Configuration
from whichbits.models.patterns import meant, strings


def weights_by_name(path: Path, stored: Mapping[str, Stored], layout: Layout) -> dict[str, tuple[int, ...] | None]:
    """Names and shapes of the 16-bit weights that `stored` stands for. Raises UserError where there are no codes."""
    if not signs_of_codes(stored):
        raise UserError(
            f"{path}: config.json states quantization, and all tensors are stored in 16 bit or more",
            remedy="download config.json and weights of one model again",
        )
    return weights_of_codes(stored, layout)


BLOCK = 128
"""Rows and columns that share a scale where scales are of blocks."""


def refuse_scales(
    path: Path, stored: Mapping[str, Stored], shapes: Mapping[str, tuple[int, ...] | None], layout: Layout
) -> None:
    """Raise UserError where scales do not fit the weights (`shapes`, [rows, columns]) whose codes they multiply."""
    for name, tensor in stored.items():
        module, _, last = name.rpartition(".")
        shape = shapes.get(f"{module}.weight")
        if last not in SCALES or shape is None or len(shape) != 2 or not tensor.shape:
            continue
        rows, columns = shape
        scales = tuple(reversed(tensor.shape)) if layout.transposed else tensor.shape
        fits = scales[0] in (1, rows, -(-rows // BLOCK))
        if len(scales) == 2:
            fits = fits and (columns % scales[1] == 0 or scales[1] == -(-columns // BLOCK))
        if not fits:
            raise UserError(
                f"{path}: {name} has the shape {list(tensor.shape)}, and its weights have {rows} rows and {columns} columns",
                remedy="download the checkpoint again, or make it again",
            )


def refuse_undeclared(path: Path, configuration: Configuration, stored: Mapping[str, Stored]) -> None:
    """Raise UserError where a module that compressed-tensors' `ignore` leaves in 16 bit has codes, or another has none.

    Only of language models alone: in a model of several, engines name modules in ways of their own.
    """
    stated = configuration.quantization
    if configuration.multimodal or not isinstance(stated, Mapping) or "config_groups" not in stated:
        return
    groups: Iterable[Mapping[str, object]] = stated["config_groups"].values()
    targets = [target for group in groups for target in strings(group.get("targets"))]
    modules = sorted({name.rpartition(".")[0] for name in stored})
    ignored = meant(path, "ignore", strings(stated.get("ignore")), modules)
    targeted = meant(path, "config_groups", targets, modules)
    for module in modules:
        codes = any(
            (tensor := stored.get(f"{module}.{name}")) is not None and (name != "weight" or is_code(tensor)) for name in CODES
        )
        if codes and module in ignored:
            raise UserError(
                f"{path}: {module} is quantized, and config.json leaves it in 16 bit (ignore)",
                remedy="download config.json and weights of one checkpoint again",
            )
        weight = stored.get(f"{module}.weight")
        linear = weight is not None and len(weight.shape) == 2 and ".layers." in module
        named = module in targeted or (
            "Linear" in targets and module.rpartition(".")[2].endswith("_proj") and ".layers." in module
        )
        if linear and not codes and named and module not in ignored:
            raise UserError(
                f"{path}: {module} is stored in 16 bit, and config.json says that it is quantized",
                remedy="download config.json and weights of one checkpoint again",
            )
