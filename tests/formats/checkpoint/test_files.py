from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

safetensors = pytest.importorskip("safetensors.numpy")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.checkpoint.files import INDEX, companion_files, read_header, shard_files, tensor_files  # noqa: E402

ONE = np.ones((2, 3), np.float32)


def sharded(folder: Path, weight_map: dict[str, str]) -> Path:
    for shard in set(weight_map.values()):
        tensors = {name: ONE for name, where in weight_map.items() if where == shard}
        safetensors.save_file(tensors, folder / shard)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_header(tmp_path: Path) -> None:
    safetensors.save_file({"b": ONE, "a": ONE}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    header = read_header(tmp_path / "x.safetensors")
    assert set(header) == {"a", "b"}
    assert (header["a"].shape, header["a"].dtype, header["a"].bytes) == ((2, 3), "F32", 24)


@pytest.mark.parametrize("cut", [1, 30, 10_000])
def test_a_truncated_file_is_named_with_its_sizes(cut: int, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    safetensors.save_file({"a": ONE}, file)
    content = file.read_bytes()
    file.write_bytes(content[: max(0, len(content) - cut)])
    with pytest.raises(UserError, match=r"x\.safetensors is truncated"):
        read_header(file)


def test_a_file_that_is_too_long_or_no_safetensors(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    safetensors.save_file({"a": ONE}, file)
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(UserError, match="is too long"):
        read_header(file)
    file.write_bytes(struct.pack("<Q", 4) + b"text")
    with pytest.raises(UserError, match="not a safetensors file"):
        read_header(file)


def test_shards_are_those_of_the_index(tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "model-2.safetensors", "b": "model-1.safetensors"})
    safetensors.save_file({"a": ONE}, tmp_path / "consolidated.safetensors")
    assert [file.name for file in shard_files(tmp_path)] == ["model-1.safetensors", "model-2.safetensors"]
    assert {name: file.name for name, file in tensor_files(tmp_path).items()} == {
        "a": "model-2.safetensors",
        "b": "model-1.safetensors",
    }


def test_without_an_index_the_single_file_counts_then_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \*\.safetensors file"):
        shard_files(tmp_path)
    safetensors.save_file({"a": ONE}, tmp_path / "other.safetensors")
    assert [file.name for file in shard_files(tmp_path)] == ["other.safetensors"]
    safetensors.save_file({"a": ONE}, tmp_path / "model.safetensors")
    assert [file.name for file in shard_files(tmp_path)] == ["model.safetensors"]


def test_a_missing_shard_or_tensor(tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    safetensors.save_file({"c": ONE}, tmp_path / "two.safetensors")
    with pytest.raises(UserError, match="no shard holds the tensor b"):
        tensor_files(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks the shard two\.safetensors"):
        shard_files(tmp_path)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text('{"weights": {}}')
    with pytest.raises(UserError, match="not an index"):
        shard_files(tmp_path)


def test_companions(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "chat_template.jinja", "config.json", "README.md"):
        (tmp_path / name).write_text("")
    assert [file.name for file in companion_files(tmp_path)] == ["chat_template.jinja", "tokenizer.json"]
