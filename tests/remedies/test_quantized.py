"""Remedies of quantized checkpoints that are resolved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.folders import NORM, WEIGHTS, Make, change, configure

Q = "model.layers.0.self_attn.q_proj"


def test_a_shape_that_packed_codes_state(follow: Any, make: Make, resolved: Any, tmp_path: Path) -> None:
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import parse

    base, recipe = make(), parse({"rounding": "rtn", "scales": "minmax"})
    for name in ("whole", "spoilt"):
        quantize_checkpoint(base, get("w4a16-int-channel"), recipe, tmp_path / name)
    spoilt = tmp_path / "spoilt"
    change(spoilt, lambda tensors: tensors[f"{Q}.weight_shape"].fill_(1))
    follow(
        "{path}: {name} states {stated}, and the model's weights have the shape",
        mistake=lambda: resolved(spoilt),
        remedy=lambda: (shutil.copy(tmp_path / "whole" / WEIGHTS, spoilt / WEIGHTS), resolved(spoilt)),
    )


def test_quantization_beside_the_configuration(follow: Any, make: Make, resolved: Any) -> None:
    quantized, whole = make(name="quantized"), make(name="whole")
    (quantized / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    follow("is quantized and says so in {beside} alone", mistake=lambda: resolved(quantized), remedy=lambda: resolved(whole))


@pytest.fixture(scope="module")
def int8(built: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the model in INT8."""
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import parse

    out = tmp_path_factory.mktemp("int8") / "model"
    quantize_checkpoint(built(), get("w8a8-int"), parse({"rounding": "rtn", "scales": "minmax"}), out)
    return out


def _full(tensors: dict[str, Any]) -> None:
    """The weight of a module in 16 bit."""
    tensors[f"{Q}.weight"] = tensors[f"{Q}.weight"].to(tensors[NORM].dtype)
    del tensors[f"{Q}.weight_scale"]


def _all_full(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.endswith("_scale")]:
        module = name.removesuffix("_scale")
        tensors[module] = tensors[module].to(tensors[NORM].dtype)
        del tensors[name]


@pytest.mark.parametrize(
    ("error", "edit"),
    [
        ("config.json states quantization, and all tensors are stored in 16 bit", _all_full),
        (
            "and its weights have {rows} rows and {columns} columns{shared}",
            lambda t: t.update({f"{Q}.weight_scale": t[NORM][:5, None]}),
        ),
        ("is stored in 16 bit, and config.json says that it is quantized", _full),
        ("is stored as {dtype}, where config.json says", lambda t: t.update({f"{Q}.weight": t[f"{Q}.weight"].short()})),
        ("is quantized, and config.json leaves it in 16 bit", {"ignore": ["lm_head", Q]}),
        ("is quantized, and no group of config.json means it", ["re:.*down_proj"]),
    ],
)
def test_a_quantized_checkpoint(follow: Any, int8: Path, tmp_path: Path, resolved: Any, error: str, edit: Any) -> None:
    folder = Path(shutil.copytree(int8, tmp_path / "quantized"))
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]
    if isinstance(edit, list):
        stated["config_groups"]["group_0"]["targets"] = edit
    if callable(edit):
        change(folder, edit)
    else:
        configure(folder, quantization_config=stated | (edit if isinstance(edit, dict) else {}))

    def again() -> None:
        for name in ("config.json", WEIGHTS):
            shutil.copy(int8 / name, folder / name)
        assert resolved(folder).format.name == "w8a8-int"

    follow(error, mistake=lambda: resolved(folder), remedy=again)


def test_a_cache_without_scales(follow: Any, int8: Path, tmp_path: Path, resolved: Any) -> None:
    folder = Path(shutil.copytree(int8, tmp_path / "quantized"))
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]
    cache = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
    configure(folder, quantization_config={**stated, "kv_cache_scheme": cache})
    follow(
        "layers lack their {scale}",
        mistake=lambda: resolved(folder),
        remedy=lambda: resolved(configure(folder, quantization_config=stated)),
    )


@pytest.mark.parametrize(
    ("error", "pattern", "fixed"),
    [
        ("{pattern} is no regular expression", "re:model.(layers", "re:model.layers.9"),
        ("on the model's {names} names", r"re:(\w+\.?)+$x", "re:.*lm_head$"),
    ],
)
def test_patterns_of_a_checkpoint(
    follow: Any, int8: Path, tmp_path: Path, resolved: Any, error: str, pattern: str, fixed: str
) -> None:
    folder = Path(shutil.copytree(int8, tmp_path / "copy"))
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]

    def state(entry: str) -> None:
        configure(folder, quantization_config={**stated, "ignore": [*stated["ignore"], entry]})
        resolved(folder)

    follow(error, mistake=lambda: state(pattern), remedy=lambda: state(fixed))
    follow(error, mistake=lambda: state(pattern), remedy=lambda: resolved(int8))
