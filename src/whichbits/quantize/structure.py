"""Which tensors of a checkpoint are the linear layers to quantize, found by structure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from whichbits.errors import UserError
from whichbits.formats.files import read_header, shard_files

LAYER_WEIGHT = re.compile(r"model\.layers\.(\d+)\..+\.weight")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")

Shape = tuple[int, ...]


def tensor_shapes(folder: Path) -> dict[str, Shape]:
    """Shape of every tensor of the checkpoint in `folder`; reads headers only."""
    return {name: tuple(entry["shape"]) for shard in shard_files(folder) for name, entry in sorted(read_header(shard).items())}


def layer_linears(config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> list[list[str]]:
    """Names of the weights to quantize, layer by layer: every 2-D weight under `model.layers.N`.

    Raises UserError where the model is quantized already, is a mixture of experts, or has no such weights.
    """
    if "quantization_config" in config:
        raise UserError(
            "the base is quantized already (quantization_config in its config.json)", remedy="give the 16-bit model"
        )
    if any((config.get(key) or 0) > 1 for key in EXPERTS):
        raise UserError(
            "the base is a mixture of experts, which this release does not quantize",
            remedy="give a ready checkpoint of the format as the candidate",
        )
    layers: dict[int, list[str]] = defaultdict(list)
    for name, shape in sorted(shapes.items()):
        match = LAYER_WEIGHT.fullmatch(name)
        if match and len(shape) == 2:
            layers[int(match[1])].append(name)
    if not layers:
        raise UserError(
            "the base has no linear layers under model.layers.N, so its structure is not understood",
            remedy="give a ready checkpoint of the format as the candidate",
        )
    return [layers[number] for number in sorted(layers)]


def ignored(config: Mapping[str, Any], shapes: Mapping[str, Shape], linears: Collection[str]) -> list[str]:
    """Modules that engines must leave in 16 bit: lm_head, and every other 2-D weight that is not an embedding of tokens."""
    others = {
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and name not in linears and shape[0] != config.get("vocab_size")
    }
    return sorted({"lm_head", *others})
