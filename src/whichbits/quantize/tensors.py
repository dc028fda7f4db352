"""The tensors that a pass starts from: those of the base, read when they are asked for, rotated where the recipe says so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.formats.files import read_tensor, tensor_files
from whichbits.quantize.recipe import Recipe
from whichbits.quantize.rotation import RotatedTensors

if TYPE_CHECKING:
    import torch


class StoredTensors(Mapping[str, "torch.Tensor"]):
    """The tensors of the checkpoint in `folder`, in the order of their names, mapped into memory one by one."""

    def __init__(self, folder: Path) -> None:
        self._files = tensor_files(folder)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, name: str) -> torch.Tensor:
        return read_tensor(self._files, name)


def base_tensors(base: Path, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    """The tensors of the model in `base` as `recipe` quantizes them. Raises UserError where its rotation cannot be done."""
    stored = StoredTensors(base)
    if not recipe.rotation:
        return stored
    return RotatedTensors(stored, json.loads((base / "config.json").read_text()), recipe.seed)
