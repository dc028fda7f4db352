from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
safetensors = pytest.importorskip("safetensors.numpy")

from whichbits.errors import UserError  # noqa: E402
from whichbits.models.resolve import resolve  # noqa: E402

CONFIG = {"dtype": "bfloat16", "max_position_embeddings": 64}


def make_model(folder: Path, config: dict[str, Any] = CONFIG, tensors: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("not what defines the model")
    safetensors.save_file(tensors or {"weight": np.ones((2, 2), np.float16)}, folder / "model.safetensors")
    return folder


def test_a_local_folder(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    model = resolve(str(folder), cache=tmp_path / "cache")
    assert (model.path, model.dtype, model.max_positions, model.notes) == (folder, "bfloat16", 64, ())
    assert sorted(model.files) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert model.files["tokenizer.json"] == hashlib.sha256(b"{}").hexdigest()


def test_the_folder_of_a_multimodal_model_is_read_from_its_text_part(tmp_path: Path) -> None:
    config = {"text_config": {"torch_dtype": "float16", "max_position_embeddings": 8}}
    model = resolve(str(make_model(tmp_path / "model", config)), cache=tmp_path)
    assert (model.dtype, model.max_positions) == ("float16", 8)


def test_without_a_dtype_in_the_configuration_that_of_most_weights_counts(tmp_path: Path) -> None:
    tensors = {"norm": np.ones(2, np.float32), "weight": np.ones((8, 8), np.float16)}
    model = resolve(str(make_model(tmp_path / "model", {"max_position_embeddings": 8}, tensors)), cache=tmp_path)
    assert model.dtype == "float16"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CONFIG | {"dtype": "float32"}, "dtype float32"),
        ({"dtype": "bfloat16"}, "how long a sequence may be"),
        (CONFIG | {"auto_map": {"AutoModel": "modeling.Model"}}, "Python code of its own"),
    ],
)
def test_what_a_configuration_may_not_say(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        resolve(str(make_model(tmp_path / "model", config)), cache=tmp_path)


def test_custom_code_is_part_of_the_model_once_allowed(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", CONFIG | {"auto_map": {"AutoModel": "modeling.Model"}})
    (folder / "modeling.py").write_text("")
    assert "modeling.py" in resolve(str(folder), cache=tmp_path, allow_custom_code=True).files


def test_a_truncated_shard(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors is truncated"):
        resolve(str(folder), cache=tmp_path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_configuration_that_is_none(text: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json is not"):
        resolve(str(folder), cache=tmp_path)


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config\.json"):
        resolve(str(tmp_path), cache=tmp_path)


@pytest.mark.parametrize("reference", ["no-such-model", "./no/such/folder", "/no/such/folder"])
def test_a_reference_to_nothing_lists_what_can_be_given(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a folder nor a hub id") as caught:
        resolve(reference, cache=tmp_path)
    assert "smollm2-135m-instruct" in caught.value.remedy


def test_a_hub_id_is_read_from_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    folder = make_model(repository / "snapshots" / ("a" * 40))
    shutil.move(folder / "model.safetensors", repository / "blob")
    (folder / "model.safetensors").symlink_to(repository / "blob")
    model = resolve("owner/name", cache=tmp_path / "cache", allow_download=False)
    assert model.path == folder
    assert "model.safetensors" in model.files


def test_a_hub_id_that_may_not_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="not in the hub's cache"):
        resolve("owner/name", cache=tmp_path, allow_download=False)


@pytest.mark.model
def test_the_embedded_model(embedded_model: Path) -> None:
    model = resolve("smollm2-135m-instruct")
    assert model.path == embedded_model
    assert (model.dtype, model.max_positions, model.config["hidden_size"]) == ("bfloat16", 8192, 576)
    assert "Q4_1" in model.notes[0]


@pytest.mark.parametrize("reference", ["", "a" * 5000, "~nobody-of-this-name/model", "a\0b", "a--b/c", f"{'a' * 200}/b"])
def test_what_cannot_be_a_model_is_a_mistake_in_one_line(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model ") as caught:
        resolve(reference, cache=tmp_path, allow_download=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
