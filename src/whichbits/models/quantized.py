"""A quantized checkpoint's tensors against what its config.json declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.codes import (
    CODES,
    FULL,
    SCALES,
    ZEROS,
    Layout,
    is_code,
    signs_of_codes,
    weights_of_codes,
)
from whichbits.formats.checkpoint.files import Stored, read_integers
from whichbits.models.configuration import Configuration
from whichbits.models.patterns import meant, strings
from whichbits.models.tensor_check import padded


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

SCALE_DTYPES = (*FULL, "F8_E4M3", "F8_E8M0", "U8")
"""Dtypes of scales; the last two hold exponents."""

SHAPE = "weight_shape"
"""The shape of the weights that packed codes stand for, a tensor beside them."""

ZERO_DTYPES = ("I8", "I32")


def refuse_codes(path: Path, stored: Mapping[str, Stored], layout: Layout) -> None:
    """Raise UserError where codes, scales or zero points have another dtype than what config.json states can have."""
    for name, tensor in stored.items():
        last = name.rpartition(".")[2]
        codes = last in CODES and (last != "weight" or is_code(tensor))
        dtypes = layout.dtypes if codes else SCALE_DTYPES if last in SCALES else ZERO_DTYPES if last in ZEROS else ()
        if dtypes and tensor.dtype not in dtypes:
            raise UserError(
                f"{path}: {name} is stored as {tensor.dtype}, where config.json says {' or '.join(dict.fromkeys(dtypes))}",
                remedy="download config.json and weights of one checkpoint again",
            )


def refuse_scales(
    path: Path, stored: Mapping[str, Stored], shapes: Mapping[str, tuple[int, ...] | None], layout: Layout
) -> None:
    """Raise UserError where scales or zero points do not fit the weights (`shapes`, [rows, columns]) of the codes beside."""
    for name, tensor in stored.items():
        module, _, last = name.rpartition(".")
        shape = shapes.get(f"{module}.weight")
        if last not in (*SCALES, *ZEROS) or shape is None or len(shape) != 2 or not tensor.shape:
            continue
        own = tuple(reversed(tensor.shape)) if layout.transposed else tensor.shape
        if not _fits(own, shape, layout, packed=last in ZEROS):
            rows, columns = shape
            shared = f" in groups of {layout.shared}" if isinstance(layout.shared, int) else ""
            raise UserError(
                f"{path}: {name} has the shape {list(tensor.shape)}, and its weights have {rows} rows and {columns} "
                f"columns{shared}",
                remedy="download the checkpoint again, or make it again",
            )


def refuse_stated_shapes(
    path: Path,
    stored: Mapping[str, Stored],
    shapes: Mapping[str, tuple[int, ...] | None],
    parameters: Mapping[str, tuple[int, ...]],
) -> None:
    """Raise UserError where the shape that packed codes state of their weights (`weight_shape`) is not the model's own.

    `parameters` are the model's, `shapes` those that the codes can hold, which may have up to a word more columns.
    """
    for name, numbers in read_integers({name: tensor for name, tensor in stored.items() if name.endswith(f".{SHAPE}")}):
        weight = f"{name.removesuffix(SHAPE)}weight"
        own, stated = parameters.get(weight) or shapes.get(weight), tuple(numbers)
        if own is not None and stated != own and (weight in parameters or not padded(own, stated)):
            raise UserError(
                f"{path}: {name} states {list(stated)[:4]}, and the model's weights have the shape {list(own)}",
                remedy="download the checkpoint again, or make it again",
            )


def _fits(scales: tuple[int, ...], shape: tuple[int, ...], layout: Layout, *, packed: bool) -> bool:
    """Whether scales of this shape, or zero points that may be `packed` along the rows, are those of weights of `shape`."""
    rows, columns = shape
    heights = {rows, -(-rows * (layout.bits or 4) // 32)} if packed else {rows}
    match layout.shared:
        case "row":
            return scales[0] in heights and scales[1:] in ((), (1,))
        case "block":
            return scales == (-(-rows // BLOCK), -(-columns // BLOCK))
        case int():
            return scales[0] in heights and scales[1:] == (-(-columns // layout.shared),)
    fits = scales[0] in {1, -(-rows // BLOCK), *heights}
    return fits and (len(scales) < 2 or columns % scales[1] == 0 or scales[1] == -(-columns // BLOCK))


def refuse_lacking_cache_scales(path: Path, stored: Mapping[str, Stored], layers: int) -> None:
    """Raise UserError where a checkpoint that states a key-value cache with fixed scales lacks those of some of its layers."""
    for scale in ("k_scale", "v_scale"):
        found = sum(name.endswith(f".{scale}") for name in stored)
        if found < layers:
            raise UserError(
                f"{path}: config.json states a quantized key-value cache, and {layers - found} of {layers} layers lack their "
                f"{scale}",
                remedy="make the checkpoint again, or remove kv_cache_scheme from config.json",
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
    classes = any(target[:1].isupper() for target in targets)
    for module in modules:
        codes = any(
            (tensor := stored.get(f"{module}.{name}")) is not None and (name != "weight" or is_code(tensor)) for name in CODES
        )
        if codes and module in ignored:
            raise UserError(
                f"{path}: {module} is quantized, and config.json leaves it in 16 bit (ignore)",
                remedy="download config.json and weights of one checkpoint again",
            )
        if codes and module not in targeted and not classes:
            raise UserError(
                f"{path}: {module} is quantized, and no group of config.json means it (config_groups)",
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
