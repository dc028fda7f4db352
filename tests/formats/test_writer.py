from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.formats.files import INDEX, tensor_files  # noqa: E402
from whichbits.formats.writer import ShardWriter  # noqa: E402

TENSORS = {f"t{number}": torch.full((10,), float(number)) for number in range(5)}


def write(folder: Path, shard_bytes: int) -> list[str]:
    writer = ShardWriter(folder, shard_bytes=shard_bytes)
    for name, tensor in TENSORS.items():
        writer.add(name, tensor)
    return [path.name for path in writer.finish()]


def test_what_fits_is_one_file_without_an_index(tmp_path: Path) -> None:
    assert write(tmp_path, 200) == ["model.safetensors"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_what_does_not_fit_is_sharded_with_an_index(tmp_path: Path) -> None:
    names = write(tmp_path, 80)
    assert names == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*names, INDEX]
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == 200
    assert {name: file.name for name, file in tensor_files(tmp_path).items()} == index["weight_map"]
    for name, file in tensor_files(tmp_path).items():
        assert torch.equal(safetensors.load_file(file)[name], TENSORS[name])


def test_a_tensor_larger_than_a_shard_has_one_to_itself(tmp_path: Path) -> None:
    assert len(write(tmp_path, 1)) == 5
