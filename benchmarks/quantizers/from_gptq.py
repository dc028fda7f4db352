"""A checkpoint in AutoGPTQ's layout as one of plain weights, so that it runs in the same arithmetic as the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from whichbits.formats.checkpoint.files import shard_files


def is_gptq(checkpoint: Path) -> bool:
    """Whether a checkpoint has that layout."""
    config = json.loads((checkpoint / "config.json").read_text())
    return config.get("quantization_config", {}).get("quant_method") in ("gptq", "auto-round")


def to_plain(checkpoint: Path, out: Path) -> None:
    """Write the checkpoint's weights in float32. Raises ValueError for a layout that is not 4-bit AutoGPTQ's."""
    config = json.loads((checkpoint / "config.json").read_text())
    stated = config.pop("quantization_config")
    layout = stated.get("checkpoint_format") or stated.get("packing_format") or "gptq"
    if stated["bits"] != 4 or layout.split(":")[-1] not in ("gptq", "auto_gptq", "gptq_v2"):
        raise ValueError(f"{checkpoint} is not in AutoGPTQ's layout of 4-bit weights but {layout}")
    tensors = {name: tensor for file in shard_files(checkpoint) for name, tensor in load_file(file).items()}
    plain = {name: tensor.float() for name, tensor in tensors.items() if tensor.is_floating_point() and ".scales" not in name}
    for name in [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]:
        parts = {part: tensors.get(f"{name}.{part}") for part in ("qweight", "qzeros", "scales", "g_idx")}
        plain[f"{name}.weight"] = weight(**parts, zero_offset=0 if layout == "gptq_v2" else 1)
    out.mkdir(parents=True)
    for file in [*checkpoint.glob("tokenizer*"), *checkpoint.glob("generation_config.json")]:
        shutil.copy(file, out)
    (out / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    save_file(plain, out / "model.safetensors", metadata={"format": "pt"})


def weight(
    qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor, g_idx: torch.Tensor | None, *, zero_offset: int
) -> torch.Tensor:
    """Weight [out, in], float32: (code - zero point) · scale of the group.

    qweight: int32 [in / 8, out], eight codes a word along the inputs. qzeros: int32 [groups, out / 8], each zero point less
    `zero_offset`. scales: [groups, out]. g_idx: group of each input, in order where it is None.
    """
    codes = _nibbles(qweight).transpose(1, 2).reshape(-1, qweight.shape[1])
    zeros = _nibbles(qzeros).reshape(len(qzeros), -1) + zero_offset
    group = torch.arange(len(codes)) // (len(codes) // len(scales)) if g_idx is None else g_idx.long()
    return ((codes - zeros[group]) * scales.float()[group]).t().contiguous()


def _nibbles(words: torch.Tensor) -> torch.Tensor:
    """The eight codes of each word, lowest bits first: int64 [..., 8]."""
    return (words.long()[..., None] >> torch.arange(0, 32, 4)) & 0xF
