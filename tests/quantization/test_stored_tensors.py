"""Bases as they are published: float32 beside 16 bit, buffers of older files, a layer that predicts further tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.model.tensors import StoredTensors  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

CALIBRATED = Recipe(rounding="gptq", calibration=Calibration(source="random", samples=1, length=16))


def changed(folder: Path, edit: Callable[[dict[str, Any]], Any], **fields: Any) -> Path:
    tensors = safetensors.load_file(folder / "model.safetensors")
    edit(tensors)
    kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    safetensors.save_file(kept, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def base(tmp_path: Path, tiny_llama: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for file in tiny_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("recipe", [Recipe(), CALIBRATED])
def test_float32_is_rounded_to_the_stated_dtype_and_buffers_are_left_out(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    def widen(tensors: dict[str, Any]) -> None:
        tensors.update({name: tensor.float() for name, tensor in tensors.items()})
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)

    quantize_checkpoint(base, get("w8a8-int"), recipe, tmp_path / "plain")
    quantize_checkpoint(changed(base, widen), get("w8a8-int"), recipe, tmp_path / "wide")
    plain, wide = (safetensors.load_file(tmp_path / name / "model.safetensors") for name in ("plain", "wide"))
    assert plain.keys() == wide.keys()
    assert all(torch.equal(plain[name], wide[name]) and plain[name].dtype == wide[name].dtype for name in plain)


@pytest.mark.parametrize("recipe", [Recipe(), CALIBRATED])
def test_a_layer_that_predicts_further_tokens_is_carried_along(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    def extend(tensors: dict[str, Any]) -> None:
        more = {name.replace("layers.1.", "layers.2."): tensor for name, tensor in tensors.items() if "layers.1." in name}
        tensors.update(more | {"model.layers.2.eh_proj.weight": torch.ones(128, 256, dtype=torch.bfloat16)})

    changed(base, extend, num_nextn_predict_layers=1)
    quantize_checkpoint(base, get("w8a8-int"), recipe, tmp_path / "out")
    before, after = (safetensors.load_file(folder / "model.safetensors") for folder in (base, tmp_path / "out"))
    beyond = [name for name in before if ".layers.2." in name]
    assert len(beyond) == 10 and all(torch.equal(before[name], after[name]) for name in beyond)
    ignored = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["ignore"]
    assert {"model.layers.2.eh_proj", "model.layers.2.mlp.up_proj"} <= set(ignored)
    assert "model.layers.1.mlp.up_proj.weight_scale" in after


def test_the_shift_of_the_choice_of_experts_stays_in_float32(base: Path) -> None:
    shift, norm = "model.layers.0.mlp.gate.e_score_correction_bias", "model.norm.weight"
    stored = StoredTensors(changed(base, lambda t: t.update({shift: torch.ones(4), norm: t[norm].float()})))
    assert (stored[shift].dtype, stored[norm].dtype) == (torch.float32, torch.bfloat16)
