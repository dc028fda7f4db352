"""The tensors that a pass starts from: those of the base, read when they are asked for, rotated where the recipe says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import language_prefix, tensor_files
from whichbits.models.configuration import read_configuration
from whichbits.quantization.model.tensors import StoredTensors, TensorsOnDevice
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.transforms.rotation import RotatedTensors

if TYPE_CHECKING:
    import torch


def base_tensors(
    base: Path, recipe: Recipe, device: str = "cpu", *, trust_remote_code: bool = False
) -> Mapping[str, torch.Tensor]:
    """The tensors of the model in `base` as `recipe` quantizes them, brought to `device` when they are asked for.

    Raises UserError where its rotation cannot be done.
    """
    stored = TensorsOnDevice(StoredTensors(base), device)
    if not recipe.rotation:
        return stored
    if language_prefix(tensor_files(base)):
        raise UserError(
            "rotation: the model reads images too, whose embeddings would not be rotated", remedy="leave rotation out"
        )
    return RotatedTensors(stored, read_configuration(base, trust_remote_code=trust_remote_code), recipe.seed)
