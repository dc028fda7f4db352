"""What tests do to a model's folder: they edit its tensors and its configuration, and hear why it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.models.resolve import resolve

Make = Callable[..., Path]
WEIGHTS = "model.safetensors"
NORM = "model.layers.1.input_layernorm.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """Edit the tensors of the folder's one file."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def configure(folder: Path, **fields: Any) -> Path:
    """Change config.json; None leaves a field out."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def refusal(folder: Path, cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        resolve(str(folder), cache=cache)
    assert "\n" not in str(caught.value)
    return str(caught.value)
