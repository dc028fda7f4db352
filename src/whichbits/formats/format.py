"""A number format as data, the catalogue of them, and a format fitted to a model's widths."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from math import ceil
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from whichbits.errors import UserError


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
    weight group to choose from, largest first; the chosen one is `weights.group_size`. `refused` says why this release
    cannot write the format.
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
    minimal_compute_capability: str | None = None
    notes: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def is_base(self) -> bool:
        """Whether this is the base's own 16-bit format."""
        return self.weights is None

    def bits_per_weight(self, rows: int, columns: int) -> float:
        """Bits on disk for each weight of a [rows, columns] matrix: codes, scales, and what is stored once for a matrix.

        With a group of g weights for each scale that is `stored_bits + scale_bits / g`, and a little for the rest.
        """
        return self.stored_bits + (self.scale_bits * self.scales(rows, columns) + self.tensor_bits) / (rows * columns)

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


def load() -> dict[str, Format]:
    """The catalogue: {name: format}, in its order."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(files("whichbits.formats").joinpath("catalogue.yaml").read_text())
    return {name: Format(name=name, **entry) for name, entry in entries.items()}


def get(name: str) -> Format:
    """The format called `name`. Raises UserError where there is none."""
    catalogue = load()
    if name not in catalogue:
        raise UserError(f"format {name!r} is not known", remedy=f"choose one of {', '.join(catalogue)}")
    return catalogue[name]


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
                raise UserError(
                    f"{format.name}: blocks of {height} x {width} do not divide a weight of {rows} x {columns}",
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
        raise UserError(
            f"{format.name}: {'no group size' if asked is None else f'group_size {asked} is not one'} of {sizes} "
            f"that divides the widths {', '.join(map(str, columns))}",
            remedy="choose a format with a scale for each channel, such as w8a8-int",
        )
    return format.model_copy(update={"weights": format.weights.model_copy(update={"group_size": fitting[0]})})


def linear_shapes(config: dict[str, Any]) -> set[tuple[int, int]]:
    """[rows, columns] of the linear layers that a dense decoder's config.json implies, known before reading weights."""
    config = config.get("text_config") or config
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    queries, keys = heads * head, (config.get("num_key_value_heads") or heads) * head
    return {(queries, hidden), (keys, hidden), (hidden, queries), (inner, hidden), (hidden, inner)}


def quantization_config(format: Format, ignore: list[str]) -> dict[str, Any]:
    """The `quantization_config` of config.json for a fitted format, with the smallest set of keys.

    vLLM reads it with whatever compressed-tensors it has, and older ones forbid keys that they do not know.
    `ignore` names the linear layers that stay in 16 bit.
    """
    if format.weights is None:
        raise ValueError(f"{format.name} is not quantized")
    group: dict[str, Any] = {"targets": ["Linear"], "weights": format.weights.model_dump(mode="json", exclude_none=True)}
    if format.activations:
        group["input_activations"] = format.activations.model_dump(mode="json", exclude_none=True)
    if format.storage == "pack-quantized" and format.activations:
        # The one layout that readers infer otherwise: they take integer weights with activations for unpacked.
        group["format"] = format.storage
    return {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": format.storage,
        "ignore": ignore,
        "config_groups": {"group_0": group},
    }
