from __future__ import annotations

from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import get, load
from whichbits.formats.format import Format, fit, quantization_config

LLAMA_8B = {(4096, 4096), (1024, 4096), (14336, 4096), (4096, 14336)}
SMOLLM = {(576, 576), (192, 576), (1536, 576), (576, 1536)}

INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
INT4 = {"num_bits": 4, "type": "int", "symmetric": True}
CHANNEL = {"strategy": "channel", "dynamic": False}
TOKEN = {"strategy": "token", "dynamic": True}
GROUP = {"strategy": "group", "group_size": 128, "dynamic": False}


@pytest.mark.parametrize(
    ("name", "storage", "weights", "activations"),
    [
        ("w8a8-int", "int-quantized", INT8 | CHANNEL, INT8 | TOKEN),
        ("w8a8-fp", "float-quantized", FP8 | CHANNEL, FP8 | TOKEN),
        ("w4a16-int", "pack-quantized", INT4 | GROUP, None),
        ("w4a8-int", "int-quantized", INT4 | GROUP, INT8 | TOKEN),
    ],
)
def test_config_of_a_checkpoint_has_the_minimal_keys(
    name: str, storage: str, weights: dict[str, Any], activations: dict[str, Any] | None
) -> None:
    group: dict[str, Any] = {"targets": ["Linear"], "weights": weights}
    if activations:
        group["input_activations"] = activations
    assert quantization_config(fit(get(name), LLAMA_8B), ["lm_head"]) == {
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "format": storage,
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


@pytest.mark.parametrize("name", [name for name, format in load().items() if format.weights])
def test_the_compressed_tensors_library_reads_every_config(name: str) -> None:
    quantization = pytest.importorskip("compressed_tensors.quantization")
    format = fit(get(name), LLAMA_8B)
    config = quantization.QuantizationConfig.model_validate(quantization_config(format, []))
    scheme = config.config_groups["group_0"]
    assert scheme.weights.num_bits == format.weights.num_bits
    assert (scheme.input_activations is None) == (format.activations is None)


PRESETS = {
    "w8a8-fp": "FP8_DYNAMIC", "w8a8-int": "W8A8", "w4a16-int": "W4A16", "w4a16-int-asym": "W4A16_ASYM",
    "w4a8-int": "W4A8", "w4a8-fp": "W4AFP8",
    "fp8-block": "FP8_BLOCK", "nvfp4": "NVFP4", "nvfp4a16": "NVFP4A16", "mxfp4": "MXFP4", "mxfp8": "MXFP8",
}  # fmt: skip


@pytest.mark.parametrize(("name", "preset"), PRESETS.items())
def test_formats_are_the_library_presets(name: str, preset: str) -> None:
    """Everything that decides the arithmetic is as the library's preset says."""
    quantization = pytest.importorskip("compressed_tensors.quantization")
    scheme = quantization.preset_name_to_scheme(preset, ["Linear"])
    format = fit(get(name), LLAMA_8B)
    keys = ("num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic")
    for ours, theirs in ((format.weights, scheme.weights), (format.activations, scheme.input_activations)):
        assert (ours is None) == (theirs is None)
        if ours and theirs:
            expected = theirs.model_dump(mode="json")
            assert {key: ours.model_dump(mode="json")[key] for key in keys} == {key: expected[key] for key in keys}


def test_group_size_is_the_largest_that_divides_all_widths() -> None:
    w4a16 = get("w4a16-int")

    def size(*columns: int) -> int | None:
        weights = fit(w4a16, [(8, width) for width in columns]).weights
        return weights.group_size if weights else None

    assert size(4096, 14336) == 128
    assert size(576, 1536) == 64
    assert size(96, 128) == 32
    with pytest.raises(UserError, match="divides the widths 48, 128"):
        size(48, 128)


def test_group_size_can_be_asked_for() -> None:
    fitted = fit(get("w4a16-int"), SMOLLM, group_size=32)
    assert fitted.weights and fitted.weights.group_size == 32
    with pytest.raises(UserError, match="group_size 128 is not one of 128, 64, 32 that divides the widths 576, 1536"):
        fit(get("w4a16-int"), SMOLLM, group_size=128)
    with pytest.raises(UserError, match="group_size 48"):
        fit(get("w4a16-int"), SMOLLM, group_size=48)
    with pytest.raises(UserError, match="w8a8-int has no group size to choose"):
        fit(get("w8a8-int"), SMOLLM, group_size=64)


def test_a_block_that_does_not_divide_is_refused() -> None:
    assert fit(get("fp8-block"), LLAMA_8B) == get("fp8-block")
    with pytest.raises(UserError, match="blocks of 128 x 128 do not divide a weight of 192 x 576"):
        fit(get("fp8-block"), SMOLLM)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("bf16", 16),
        ("w8a8-int", 8 + 16 / 4096),
        ("w4a16-int", 4 + 16 / 128 + 128 / 4096**2),
        ("w4a16-int-asym", 4 + (16 + 4) / 128 + 128 / 4096**2),
        ("w4a8-int-packed", 4 + 16 / 128 + 128 / 4096**2),
        ("w4a16-int-channel", 4 + 16 / 4096 + 128 / 4096**2),
        ("w8a8-fp-static", 8 + 16 / 4096 + 16 / 4096**2),
        ("fp8-block", 8 + 16 / 128**2),
        ("nvfp4a16", 4 + 8 / 16 + 32 / 4096**2),
        ("mxfp4", 4 + 8 / 32),
        ("mxfp8", 8 + 8 / 32),
    ],
)
def test_bits_per_weight_by_hand(name: str, bits: float) -> None:
    assert fit(get(name), [(4096, 4096)]).bits_per_weight(4096, 4096) == bits


def test_formats_are_frozen_data_that_can_be_written_and_read() -> None:
    for format in load().values():
        assert Format.model_validate_json(format.model_dump_json()) == format
