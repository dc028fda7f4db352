"""The layout of vLLM on Ascend: hand-computed codes, and the names, types and shapes that its loader documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import load_file, save_file  # noqa: E402

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.export.ascend import converted, export_ascend, packed_rows  # noqa: E402
from whichbits.formats.format import quantization_config  # noqa: E402


def test_two_rows_to_a_byte_by_hand() -> None:
    """Row 0 in the low half, row 1 in the high half, both in two's complement."""
    codes = torch.tensor([[1, -8, 7, -1], [2, 7, -8, -1]], dtype=torch.int8)
    assert [f"{byte & 0xFF:02x}" for byte in packed_rows(codes)[0].tolist()] == ["21", "78", "87", "ff"]
    every = torch.arange(-8, 8, dtype=torch.int8)
    pairs = torch.cartesian_prod(every, every).T
    packed = packed_rows(pairs)[0].to(torch.int16)
    assert torch.equal(((packed & 0xF) ^ 8) - 8, pairs[0].to(torch.int16))
    assert torch.equal(((packed >> 4 & 0xF) ^ 8) - 8, pairs[1].to(torch.int16))


def test_int8_keeps_its_codes() -> None:
    codes, scale = torch.tensor([[5, -7]], dtype=torch.int8), torch.tensor([[0.25]])
    found = converted("model.layers.0.mlp.up_proj", codes, scale, "W8A8_DYNAMIC")
    assert {key: tensor.tolist() for key, tensor in found.items()} == {
        "weight": [[5, -7]], "weight_scale": [[0.25]], "weight_offset": [[0.0]],
    }  # fmt: skip


def test_groups_are_the_second_level_by_hand() -> None:
    codes = torch.tensor([[1, 2, 3, 4], [-8, 0, 0, 7]], dtype=torch.int8)
    scale = torch.tensor([[0.5, 2.0], [1.0, 0.25]])
    found = converted("model.layers.0.mlp.gate_proj", codes, scale, "W4A8_DYNAMIC")
    assert found["weight_scale"].tolist() == [[1.0], [1.0]]
    assert found["weight_scale_second"].tolist() == scale.tolist()
    # 8 (1 0.5 + 2 0.5 + 3 2 + 4 2) = 124 and 8 (-8 + 7 0.25) = -50
    assert found["scale_bias"].tolist() == [[124.0], [-50.0]]
    assert found["weight_offset_second"].dtype == torch.int64


def test_row_parallel_modules_have_a_bias_for_each_sixteenth() -> None:
    codes = torch.ones(2, 32, dtype=torch.int8)
    found = converted("model.layers.0.mlp.down_proj", codes, torch.full((2, 1), 0.5), "W4A8_DYNAMIC")
    assert found["scale_bias"].tolist() == [[8.0] * 16] * 2  # 8 times two weights of 0.5
    assert "weight_scale_second" not in found
    with pytest.raises(UserError, match="summed in 16 parts"):
        converted("model.layers.0.mlp.down_proj", codes[:, :24], torch.ones(2, 1), "W4A8_DYNAMIC")


def checkpoint(folder: Path, format: str, group_size: int | None) -> Path:
    """A compressed-tensors checkpoint with one quantized layer, a bias and an embedding."""
    folder.mkdir()
    fitted = get(format)
    if fitted.weights and group_size:
        fitted = fitted.model_copy(update={"weights": fitted.weights.model_copy(update={"group_size": group_size})})
    config = {"model_type": "llama", "quantization_config": quantization_config(fitted, ["lm_head"])}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    groups = 64 // group_size if group_size else 1
    q = "model.layers.0.self_attn.q_proj"
    tensors = {
        "model.embed_tokens.weight": torch.ones(8, 64, dtype=torch.bfloat16),
        f"{q}.weight": torch.full((4, 64), 3, dtype=torch.int8),
        f"{q}.weight_scale": torch.full((4, groups), 0.5, dtype=torch.bfloat16),
        f"{q}.bias": torch.ones(4, dtype=torch.bfloat16),
    }
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("format", "group_size", "quant_type"), [("w8a8-int", None, "W8A8_DYNAMIC"), ("w4a8-int", 32, "W4A8_DYNAMIC")]
)
def test_the_folder_is_the_golden_one(format: str, group_size: int | None, quant_type: str, tmp_path: Path) -> None:
    export_ascend(checkpoint(tmp_path / "base", format, group_size), format, tmp_path / "out")
    golden = json.loads((Path(__file__).parents[2] / "golden" / "ascend.json").read_text())[quant_type]
    assert json.loads((tmp_path / "out" / "quant_model_description.json").read_text()) == golden["description"]
    tensors = load_file(tmp_path / "out" / "quant_model_weights.safetensors")
    assert {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()} == golden["tensors"]
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"model_type": "llama"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == golden["files"]


def test_shards_have_an_index(tmp_path: Path) -> None:
    export_ascend(checkpoint(tmp_path / "base", "w8a8-int", None), "w8a8-int", tmp_path / "out", shard_bytes=512)
    index = json.loads((tmp_path / "out" / "quant_model_weights.safetensors.index.json").read_text())
    for name, shard in index["weight_map"].items():
        assert name in load_file(tmp_path / "out" / shard)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", "w8a8-int", None)
    with pytest.raises(UserError, match="no layout for vLLM on Ascend → choose one of w8a8-int, w4a8-int"):
        export_ascend(base, "w8a8-fp", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export_ascend(base, "w8a8-int", tmp_path / "out")
