"""A compressed-tensors checkpoint written again in the layout of msModelSlim (AscendV1), which vLLM on Ascend reads.

Names, shapes and types are those of msModelSlim's saver and of vllm-ascend's loader (its main branch of August 2026 and release
0.25.1rc1). Nothing here has run on an NPU.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import COMPANIONS, read_tensor, tensor_files
from whichbits.formats.checkpoint.names import ATTENTION, HEAD, MLP
from whichbits.formats.checkpoint.writer import ShardWriter

if TYPE_CHECKING:
    import torch

DESCRIPTION = "quant_model_description.json"
WEIGHTS = "quant_model_weights"
VERSION = "1.0.0"

QUANT_TYPES = {"w8a8-int": "W8A8_DYNAMIC", "w4a8-int": "W4A8_DYNAMIC"}
"""The formats that have such a layout, and what Ascend calls them."""

ROW_PARALLEL = (ATTENTION.output, MLP.down)
"""Modules whose inputs are split between devices."""

MOST_DEVICES = 16
"""Devices that such a module may be split between: its `scale_bias` has a part for each sixteenth of the inputs."""

LICENSES = ("LICENSE*", "NOTICE*", "*.py")


def check_exportable(format: str) -> None:
    """Raises UserError where the format has no such layout."""
    if format not in QUANT_TYPES:
        raise UserError(f"format {format} has no layout for vLLM on Ascend", remedy=f"choose one of {', '.join(QUANT_TYPES)}")


def export_ascend(checkpoint: Path, format: str, out: Path, *, shard_bytes: int = 2**30) -> None:
    """Write the checkpoint folder `checkpoint`, whose format is called `format`, as the folder `out` for vLLM on Ascend.

    Raises UserError where the format has no such layout, a width does not fit it, or `out` exists. A folder beside `out` takes
    its name once it is complete.
    """
    check_exportable(format)
    if out.exists():
        raise UserError(f"{out} exists already", remedy="delete it or choose another folder")
    quant_type = QUANT_TYPES[format]
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    if len(config.pop("quantization_config")["config_groups"]) > 1:
        raise UserError(
            f"{checkpoint} has several formats in one checkpoint, which are not exported",
            remedy="leave the recipe's layers out",
        )
    aside = out.with_name(f".{out.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    files = tensor_files(checkpoint)
    quantized = {name.removesuffix(".weight_scale") for name in files if name.endswith(".weight_scale")}
    writer = ShardWriter(aside, shard_bytes=shard_bytes, stem=WEIGHTS)
    types: dict[str, str] = {}
    for name in files:
        module, _, own = name.rpartition(".")
        if module not in quantized:
            _add(writer, types, name, read_tensor(files, name), "FLOAT")
        elif own == "bias":
            _add(writer, types, name, read_tensor(files, name).float(), "FLOAT")
        elif own == "weight_scale":
            scale = read_tensor(files, name).float()
            for key, tensor in converted(module, read_tensor(files, f"{module}.weight"), scale, quant_type).items():
                _add(writer, types, f"{module}.{key}", tensor, quant_type)
    writer.finish()
    # Readers ask for the type of lm_head also where its weights are the embedding's.
    types.setdefault(HEAD, "FLOAT")
    group_size = _group_size(files, quantized)
    description: dict[str, Any] = {
        **types,
        "version": VERSION,
        "model_quant_type": quant_type,
        "metadata": {},
        "group_size": group_size,
        "optional": {},
    }
    (aside / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    (aside / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for pattern in (*COMPANIONS, *LICENSES):
        for file in checkpoint.glob(pattern):
            shutil.copyfile(file, aside / file.name)
    aside.rename(out)


def converted(module: str, codes: torch.Tensor, scale: torch.Tensor, quant_type: str) -> dict[str, torch.Tensor]:
    """Tensors of one linear layer, by their name after the module's.

    `codes` int8 [rows, columns]; `scale` float32 [rows, 1], or [rows, groups] where each row has several. Groups become the
    second level of msModelSlim's two, under a first of 1. Weights of 4 bit are packed two rows to a byte, and `scale_bias` is
    8 times the sum of a row's weights, what the offset of the unsigned codes adds. Raises UserError where a width does not fit.
    """
    import torch

    rows, columns = codes.shape
    offset = torch.zeros(rows, 1)
    if quant_type == "W8A8_DYNAMIC":
        return {"weight": codes, "weight_scale": scale, "weight_offset": offset}
    groups = scale.shape[1]
    parts = MOST_DEVICES if module.rpartition(".")[2] in ROW_PARALLEL else 1
    if rows % 2 or columns % parts:
        raise UserError(
            f"{module}: {rows} x {columns} weights cannot be packed two rows to a byte and summed in {parts} parts",
            remedy="export w8a8-int",
        )
    weights = (codes.float().reshape(rows, groups, -1) * scale.unsqueeze(2)).reshape(rows, parts, -1)
    tensors = {
        "weight": packed_rows(codes),
        "weight_scale": scale if groups == 1 else torch.ones(rows, 1),
        "weight_offset": offset,
        "scale_bias": 8 * weights.sum(dim=2),
    }
    if groups > 1:
        tensors |= {"weight_scale_second": scale, "weight_offset_second": torch.zeros(rows, groups, dtype=torch.int64)}
    return tensors


def packed_rows(codes: torch.Tensor) -> torch.Tensor:
    """Codes -8 ... 7 in int8 [rows, columns], two rows to a byte: int8 [rows / 2, columns], the even row in the low half."""
    low, high = codes[0::2], codes[1::2]
    return (low & 0x0F) | (high << 4)


def _add(writer: ShardWriter, types: dict[str, str], name: str, tensor: torch.Tensor, quant_type: str) -> None:
    types[name] = quant_type
    writer.add(name, tensor.contiguous())


def _group_size(files: dict[str, Path], quantized: set[str]) -> int:
    """Weights that share a scale, as the description states it: 0 where a row has one scale."""
    module = min(quantized)
    columns = read_tensor(files, f"{module}.weight").shape[1]
    groups = read_tensor(files, f"{module}.weight_scale").shape[1]
    return 0 if groups == 1 else columns // groups
