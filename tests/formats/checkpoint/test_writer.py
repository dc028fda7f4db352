from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.formats.checkpoint.files import INDEX, tensor_files  # noqa: E402
from whichbits.formats.checkpoint.writer import ShardWriter  # noqa: E402

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


def test_what_is_put_aside_before_a_shard_is_full_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("whole", "aside"):
        (tmp_path / folder).mkdir()
    names = write(tmp_path / "whole", 120)
    monkeypatch.setattr("whichbits.formats.checkpoint.writer.HELD_BYTES", 50)
    put_aside = []
    monkeypatch.setattr(
        ShardWriter, "_put_aside", lambda self, own=ShardWriter._put_aside: (put_aside.append(len(self._held)), own(self))
    )
    assert write(tmp_path / "aside", 120) == names
    assert put_aside == [2, 2]
    assert sorted(file.name for file in (tmp_path / "aside").iterdir()) == [*names, INDEX]
    for name in names:
        assert (tmp_path / "aside" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
