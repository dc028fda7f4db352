from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.formats import catalogue
from whichbits.formats.catalogue import get, load
from whichbits.formats.checkpoint.recognize import recognize, recognize_stated, side_quantization
from whichbits.formats.format import fit, quantization_config

MADE = [name for name, format in load().items() if not format.is_base]


@pytest.mark.parametrize("name", [*MADE, "w8a8-fp+kv-fp8", "w4a16-int+kv-fp8"])
def test_what_whichbits_writes_is_recognized(name: str) -> None:
    config = quantization_config(fit(get(name), [(256, 256)]), ["lm_head"])
    assert recognize({"quantization_config": config}).name == name


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({}, "bf16"),
        ({"quant_method": "gptq", "bits": 4, "sym": True}, "w4a16-int"),
        ({"quant_method": "gptq", "bits": 4, "sym": False}, "w4a16-int-asym"),
        ({"quant_method": "awq", "bits": 4, "zero_point": True}, "w4a16-int-asym"),
        ({"quant_method": "awq", "bits": 4, "zero_point": False}, "w4a16-int"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "w4a16-int-channel"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "w8a8-fp"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, "fp8-block"),
    ],
)
def test_other_tools_checkpoints(stated: dict[str, Any], name: str) -> None:
    assert recognize({"quantization_config": stated}).name == name


def written(name: str, **fields: Any) -> dict[str, Any]:
    """What whichbits writes for a format, with some fields changed."""
    return {**quantization_config(fit(get(name), [(256, 256)]), ["lm_head"]), **fields}


def edited(**fields: Any) -> dict[str, Any]:
    """What whichbits writes for w8a8-fp, with some fields changed."""
    return written("w8a8-fp", **fields)


SPARSE = {"format": "sparse-24-bitmask", "sparsity_structure": "2:4"}
CACHE = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "tensor", "dynamic": False}
INT3 = {"num_bits": 3, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
FOREIGN: dict[str, Any] = {
    "GPTQ of 3 bits": {"quant_method": "gptq", "bits": 3},
    "Marlin's own layout": {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"},
    "AWQ of another layout": {"quant_method": "awq", "bits": 4, "version": "gemv"},
    "static FP8": {"quant_method": "fp8", "activation_scheme": "static"},
    "FP8 of other blocks": {"quant_method": "fp8", "weight_block_size": [64, 64]},
    "AutoRound": {"quant_method": "auto-round", "bits": 4},
    "ModelOpt": {"quant_method": "modelopt", "quant_algo": "FP8"},
    "MXFP4": {"quant_method": "mxfp4"},
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "no method": {"bits": 4},
    "text": "fp8",
    "a list": ["fp8"],
    "a cache of INT4": edited(kv_cache_scheme=CACHE),
    "a cache alone": edited(config_groups={}, kv_cache_scheme=CACHE),
    "sparse alone": {"quant_method": "compressed-tensors", "sparsity_config": SPARSE},
    "sparse too": edited(sparsity_config=SPARSE),
    "no groups": edited(config_groups=None),
    "groups in a list": edited(config_groups=[1]),
    "an empty group": edited(config_groups={"group_0": {}}),
    "activations alone": edited(config_groups={"group_0": {"targets": ["Linear"], "weights": None}}),
    "rotated on the way": edited(transform_config={"config_groups": {"R4": {}}}),
    "INT4 with a code a byte": written("w4a16-int", format="naive-quantized"),
    "NVFP4 with a code a byte": written("nvfp4a16", format="naive-quantized"),
    "a second group that is not known": edited(
        config_groups={**edited()["config_groups"], "group_1": {"targets": ["re:.*down_proj"], "weights": INT3}}
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_none_of_the_catalogues_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(UserError, match=r"none of the catalogue's formats|not a JSON object") as caught:
        recognize({"quantization_config": FOREIGN[name]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "dtype"), [("w8a8-fp", "F8_E4M3"), ("w8a8-int", "I8"), ("w4a8-int", "I8")])
def test_a_code_an_element_is_called_naive_too(name: str, dtype: str) -> None:
    found = recognize_stated(written(name, format="naive-quantized"))
    assert found.format.name == name
    assert found.layout is not None
    assert (found.layout.packed, found.layout.dtypes) == (None, (dtype,))


@pytest.mark.parametrize(("bits", "dtype"), [(8, "I8"), (9, "I16"), (12, "I16"), (16, "I16")])
def test_integers_of_more_than_a_byte_take_two(bits: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "formats.yaml"
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    format = {"title": "T", "purpose": "P", "storage": "int-quantized", "stored_bits": 16, "weights": weights}
    path.write_text(json.dumps({"formats": {"mine": format}}))
    monkeypatch.setenv("WHICHBITS_FORMATS", str(path))
    monkeypatch.setattr(catalogue, "catalogue", catalogue.catalogue.__wrapped__)
    found = recognize_stated(quantization_config(get("mine"), []))
    assert found.layout is not None
    assert (found.format.name, found.layout.dtypes) == ("mine", (dtype,))


def test_leftovers_that_say_nothing_are_nothing() -> None:
    assert recognize({"quantization_config": edited(sparsity_config={"format": "dense"})}).name == "w8a8-fp"
    assert recognize({"quantization_config": edited(sparsity_config={})}).name == "w8a8-fp"
    assert {recognize({"quantization_config": nothing}).name for nothing in (None, {}, [])} == {"bf16"}


def test_of_several_formats_all_are_named() -> None:
    second = quantization_config(fit(get("w4a16-int"), [(256, 256)]), [])["config_groups"]["group_0"]
    groups = {**edited()["config_groups"], "group_1": {**second, "targets": ["re:.*down_proj"], "format": "pack-quantized"}}
    found = recognize({"quantization_config": edited(config_groups=groups)})
    assert (found.name, found.title) == ("w8a8-fp", "W8A8-FP beside W4A16-INT")


def test_the_text_part_of_a_model_that_reads_images_counts() -> None:
    assert recognize({"text_config": {"quantization_config": edited()}}).name == "w8a8-fp"


def test_the_older_key_is_refused_with_the_newer_one() -> None:
    with pytest.raises(UserError, match="compression_config") as caught:
        recognize({"compression_config": edited()})
    assert "quantization_config" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}, "quant_algo FP8"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}, "FP8"),
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "bits 4"),
        ("quant_config.json", {"w_bit": 4, "zero_point": True}, "w_bit 4"),
        ("quant_model_description.json", {"model.layers.0.mlp.up_proj.weight": "W8A8"}, "quant_model_description.json"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": None}}, None),
        ("quantize_config.json", {}, None),
    ],
)
def test_files_beside_the_configuration(name: str, content: dict[str, Any], found: str | None, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    stated = side_quantization(tmp_path)
    assert (stated is None) if found is None else (stated is not None and found in stated)
