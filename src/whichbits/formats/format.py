"""A number format as data, and a format fitted to a model's widths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from whichbits.core.errors import UserError


class QuantizationArgs(BaseModel):
    """How one tensor of a linear layer is quantized; the fields are those of compressed-tensors' class of this name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_bits: int
    type: Literal["int", "float"]
    symmetric: bool
    strategy: Literal["tensor", "channel", "group", "block", "token", "tensor_group"]
    group_size: int | None = None
    block_structure: tuple[int, int] | None = None
    scale_dtype: Literal["torch.uint8"] | None = None
    dynamic: bool | Literal["local"]


class Format(BaseModel):
    """A deployable number format.

    `storage` is compressed-tensors' name of the layout on disk (None for a base in 16 bit). `group_sizes` are the sizes of a
    weight group to choose from, largest first; the chosen one is `weights.group_size`. `kv_cache` is how keys and values are
    stored while the model runs (None: in 16 bit). `parts` are modules that have another format than this. `refused` says why
    this release cannot write the format.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    purpose: str
    dtype: Literal["bfloat16", "float16"] | None = None
    storage: str | None = None
    stored_bits: int
    scale_bits: int = 0
    tensor_bits: int = 0
    group_sizes: tuple[int, ...] = ()
    weights: QuantizationArgs | None = None
    activations: QuantizationArgs | None = None
    kv_cache: QuantizationArgs | None = None
    minimal_compute_capability: str | None = None
    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    refused: str | None = None

    @model_serializer(mode="wrap")
    def _write_what_there_is(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what a plain format does not have, so that its steps keep their keys."""
        return {name: value for name, value in handler(self).items() if value or name not in ("kv_cache", "parts")}

    @property
    def is_base(self) -> bool:
        """Whether this is the base's own 16-bit format."""
        return self.weights is None

    @property
    def needs_data(self) -> bool:
        """Whether the scales of its activations, or a part of them, are found beforehand on data."""
        own = self.activations is not None and self.activations.dynamic is not True
        return own or any(part.format.needs_data for part in self.parts)

    def of(self, module: str) -> Format:
        """The format of a quantized module, by its full name."""
        return next((part.format for part in self.parts if module in part.modules), self)

    def bits_per_weight(self, rows: int, columns: int) -> float:
        """Bits on disk for each weight of a [rows, columns] matrix: codes, scales, and what is stored once for a matrix.

        With a group of g weights for each scale that is `stored_bits + scale_bits / g`, and a little for the rest.
        """
        scales = self.scales(rows, columns)
        beside = self.scale_bits * scales + self.tensor_bits
        if self.weights and not self.weights.symmetric:
            # Zero points are packed down the rows, into words of 32 bits.
            beside += 32 * ceil(rows * self.weights.num_bits / 32) * (scales // rows)
        return self.stored_bits + beside / (rows * columns)

    @property
    def bits_in_memory(self) -> float:
        """Bits of a weight as a kernel reads it, with the scale and zero point of its group.

        A format with group sizes to choose from counts with its largest. A scale for each channel or block is 16 bits a
        row or block and is not counted.
        """
        args = self.weights
        if args is None:
            return self.stored_bits
        weights = args.group_size or next(iter(self.group_sizes), None)
        if args.strategy not in ("group", "tensor_group") or weights is None:
            return args.num_bits
        return args.num_bits + (self.scale_bits + (0 if args.symmetric else args.num_bits)) / weights

    @property
    def activation_bits(self) -> float:
        """Bits of one activation as a kernel reads it; scales that are part of the number type (microscaling) are counted."""
        args = self.activations
        if args is None:
            return 16
        microscaling = args.strategy == "tensor_group" or args.scale_dtype is not None
        return args.num_bits + (self.scale_bits / args.group_size if microscaling and args.group_size else 0)

    def scales(self, rows: int, columns: int) -> int:
        """Number of weight scales of a [rows, columns] matrix."""
        if self.weights is None:
            return 0
        match self.weights.strategy:
            case "channel":
                return rows
            case "block" if self.weights.block_structure:
                height, width = self.weights.block_structure
                return ceil(rows / height) * ceil(columns / width)
            case "group" | "tensor_group" if self.weights.group_size:
                return rows * ceil(columns / self.weights.group_size)
        raise ValueError(f"{self.name}: the number of scales is known once the format is fitted to a model")


class Part(BaseModel):
    """Modules, by full name, of a checkpoint that have a format of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    modules: tuple[str, ...]


def fit(format: Format, shapes: Iterable[tuple[int, int]], *, group_size: int | None = None) -> Format:
    """The format fitted to weight matrices of these [rows, columns]: its group size chosen, its limits checked.

    The group size is `group_size`, or the largest of `format.group_sizes` that divides all columns.
    Raises UserError where no size does, where a fixed group or block does not divide the matrices, or where a group size is
    asked of a format that has a fixed one or none.
    """
    shapes = sorted(set(shapes))
    if format.group_sizes:
        return _with_group_size(format, shapes, group_size)
    if group_size is not None:
        raise UserError(f"group_size {group_size}: {format.name} has no group size to choose", remedy="leave group_size out")
    for args in (format.weights, format.activations):
        if args is None:
            continue
        height, width = args.block_structure or (1, args.group_size or 1)
        for rows, columns in shapes:
            if rows % height or columns % width:
                # vLLM puts q, k and v (gate and up) into one matrix, where no block may reach from one into the next, and its
                # kernels take whole blocks of columns alone.
                raise UserError(
                    f"{format.name}: blocks of {height} x {width} do not divide a weight of {rows} x {columns}, "
                    "and engines take whole blocks alone",
                    remedy="choose a format with a scale for each channel, such as w8a8-fp",
                )
    return format


def _with_group_size(format: Format, shapes: list[tuple[int, int]], asked: int | None) -> Format:
    if format.weights is None:
        raise ValueError(f"{format.name}: group sizes without weights")
    columns = sorted({columns for _, columns in shapes})
    candidates = format.group_sizes if asked is None else (asked,)
    fitting = [size for size in candidates if size > 0 and not any(width % size for width in columns)]
    if asked is not None and asked not in format.group_sizes:
        fitting = []
    if not fitting:
        sizes = ", ".join(map(str, format.group_sizes))
        others = [str(size) for size in format.group_sizes if not any(width % size for width in columns)]
        raise UserError(
            f"{format.name}: {'no group size' if asked is None else f'group_size {asked} is not one'} of {sizes} "
            f"that divides the widths {', '.join(map(str, columns))}",
            remedy=f"choose group_size {' or '.join(others)}, or leave it out"
            if others
            else "choose a format with a scale for each channel, such as w4a16-int-channel or w8a8-int, without group_size",
        )
    return format.model_copy(update={"weights": format.weights.model_copy(update={"group_size": fitting[0]})})


def quantization_config(format: Format, ignore: list[str], targets: Sequence[list[str]] = (["Linear"],)) -> dict[str, Any]:
    """The `quantization_config` of config.json for a fitted format, with the smallest set of keys.

    vLLM reads it with whatever compressed-tensors it has, and older ones forbid keys that they do not know.
    `ignore` names the linear layers that stay in 16 bit; `targets` are patterns that mean the modules of the format itself,
    then those of each of its parts.
    """
    formats = [format, *(part.format for part in format.parts)]
    groups = {f"group_{n}": _group(each, means) for n, (each, means) in enumerate(zip(formats, targets, strict=True))}
    if format.parts:
        for each, group in zip(formats, groups.values(), strict=True):
            group["format"] = each.storage
    config = {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": "mixed-precision" if format.parts else format.storage,
        "ignore": ignore,
        "config_groups": groups,
    }
    if format.kv_cache:
        config["kv_cache_scheme"] = format.kv_cache.model_dump(mode="json", exclude_none=True)
    return config


def scheme(format: Format) -> dict[str, Any]:
    """compressed-tensors' scheme of a fitted format, its parts left out."""
    return _group(format, ["Linear"])


def _group(format: Format, targets: list[str]) -> dict[str, Any]:
    if format.weights is None:
        raise ValueError(f"{format.name} is not quantized")
    group: dict[str, Any] = {"targets": targets, "weights": format.weights.model_dump(mode="json", exclude_none=True)}
    if format.activations:
        group["input_activations"] = format.activations.model_dump(mode="json", exclude_none=True)
    if format.storage == "pack-quantized" and format.activations:
        # The one layout that readers infer otherwise: they take integer weights with activations for unpacked.
        group["format"] = format.storage
    return group
