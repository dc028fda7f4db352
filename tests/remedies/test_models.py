"""The remedies of `whichbits.models`, followed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whichbits.models import embedded
from whichbits.models.architectures import from_config
from whichbits.models.catalogue import find_shape
from whichbits.models.configuration import read_configuration, read_json
from whichbits.models.generation import end_ids

Make = Callable[..., Path]
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 128,
}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "mistake", "remedy"),
    [
        ("model: {identifier} is no configuration", [LLAMA], LLAMA),
        (
            "lacks {names}, which has no default",
            {**LLAMA, "model_type": "gpt_oss"} | {"num_local_experts": None},
            {**LLAMA, "model_type": "gpt_oss"} | {"num_local_experts": 4, "num_experts_per_tok": 2},
        ),
        ("{identifier}: {name}: {shown} {why}", {**LLAMA, "num_hidden_layers": "two"}, LLAMA),
        ("{identifier}: {name}: {shown} {why}", {**LLAMA, "num_hidden_layers": -1}, LLAMA),
        ("{identifier}: {name}: {shown} {why}", {**LLAMA, "num_key_value_heads": 3}, LLAMA),
        ("{identifier}: {name}: {shown} {why}", {**LLAMA, "tie_word_embeddings": "no"}, LLAMA),
        ("{identifier}: {name}: {shown} {why}", {**LLAMA, "hidden_size": 63}, {**LLAMA, "hidden_size": 63, "head_dim": 16}),
    ],
)
def test_a_configuration(follow: Any, error: str, mistake: Any, remedy: dict[str, Any]) -> None:
    follow(error, mistake=lambda: from_config(mistake), remedy=lambda: from_config(remedy))


def test_a_name_that_is_none(follow: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA))
    for right in (str(tmp_path), str(file), "meta-llama/Llama-3.1-8B-Instruct"):
        follow(
            "is neither in the catalogue nor a folder with config.json",
            mistake=lambda: find_shape("./no-such-folder"),
            remedy=lambda: find_shape(right),  # noqa: B023
        )


def test_a_file_that_is_not_read(follow: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{")
    follow(
        "model: cannot read {file}",
        mistake=lambda: find_shape(str(tmp_path)),
        remedy=lambda: (file.write_text(json.dumps(LLAMA)), find_shape(str(tmp_path))),
    )


def test_a_name_of_the_hub_without_its_client(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    follow(
        "model: {reference} is not in the catalogue",
        mistake=lambda: find_shape("nobody/no-such-model-here"),
        remedy=lambda: find_shape(str(tmp_path)),
    )


def test_a_name_that_the_hub_does_not_know(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))

    def offline(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    follow(
        "model: {reference} {lacking}",
        mistake=lambda: find_shape("nobody/no-such-model-there"),
        remedy=lambda: find_shape(str(tmp_path)),
    )


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize(
    ("error", "text"), [("is not JSON ({error})", "{"), ("eos_token_id is {ids}", '{"eos_token_id": "2"}')]
)
def test_the_ends_of_a_text(follow: Any, tmp_path: Path, error: str, text: str, removed: bool) -> None:
    file = tmp_path / "generation_config.json"
    file.write_text(text)
    config = SimpleNamespace(eos_token_id=2, get_text_config=lambda: None)

    def fix() -> None:
        file.unlink() if removed and "JSON" in error else file.write_text('{"eos_token_id": [2]}')
        assert end_ids(tmp_path, config) == (2,)

    follow(error, mistake=lambda: end_ids(tmp_path, config), remedy=fix)


def test_a_folder_without_configuration(follow: Any, tmp_path: Path) -> None:
    other = tmp_path / "model"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(LLAMA))
    follow("holds no config.json", mistake=lambda: read_json(tmp_path), remedy=lambda: read_json(other))


@pytest.mark.parametrize(("error", "text"), [("{file} is not JSON: {error}", "{"), ("{file} is not a JSON object", "[]")])
def test_a_configuration_that_is_no_json(follow: Any, tmp_path: Path, error: str, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    follow(
        error,
        mistake=lambda: read_json(tmp_path),
        remedy=lambda: (file.write_text(json.dumps(LLAMA)), read_json(tmp_path)),
    )


def test_a_configuration_without_the_library(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))

    def missing() -> object:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "transformers", None)
            return read_configuration(tmp_path)

    follow("reading a model needs transformers", mistake=missing, remedy=lambda: read_configuration(tmp_path))


def test_code_of_a_configuration_s_own(follow: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    own = {**LLAMA, "model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(own))
    code = "from transformers import LlamaConfig\n\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    (tmp_path / "own.py").write_text(code)
    follow(
        "runs only with trust_remote_code",
        mistake=lambda: read_configuration(tmp_path),
        remedy=lambda: read_configuration(tmp_path, trust_remote_code=True),
    )


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        ("names no model_type", {"model_type": None}),
        ("transformers cannot read it (model_type {stated})", {"model_type": "llama-of-tomorrow"}),
        ("transformers cannot read it (model_type {stated})", {"hidden_size": "wide"}),
        ("is not described as a decoder with attention", {"model_type": "mamba", "num_attention_heads": None}),
    ],
)
def test_a_configuration_that_the_library_refuses(follow: Any, tmp_path: Path, error: str, fields: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    config = {key: value for key, value in {**LLAMA, **fields}.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    follow(
        error,
        mistake=lambda: read_configuration(tmp_path),
        remedy=lambda: ((tmp_path / "config.json").write_text(json.dumps(LLAMA)), read_configuration(tmp_path)),
    )


def test_an_embedded_model_that_was_changed(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "whichbits_test_package"
    package.mkdir()
    (package / "tiny.gguf").write_bytes(b"numbers")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(embedded, "convert_gguf", lambda _, folder: (folder / "config.json").write_text("{}"))
    tiny = embedded.Embedded("tiny", package.name, "tiny==1", "", "tiny.gguf", ())
    folder = embedded.embedded_checkpoint(tiny, tmp_path / "cache")
    (folder / "config.json").write_text('{"other": 1}')
    follow(
        "is not what the conversion wrote",
        mistake=lambda: embedded.embedded_checkpoint(tiny, tmp_path / "cache"),
        remedy=lambda: (shutil.rmtree(folder), embedded.embedded_checkpoint(tiny, tmp_path / "cache")),
    )


@pytest.fixture
def start_engine() -> Iterator[Callable[..., str]]:
    """Starts the server of `tests/serving/engine.py` and gives its URL."""
    running: list[subprocess.Popen[str]] = []

    def start(**options: float) -> str:
        script = Path(__file__).parents[1] / "serving" / "engine.py"
        running.append(subprocess.Popen([sys.executable, script, json.dumps(options)], stdout=subprocess.PIPE, text=True))
        stream = running[-1].stdout
        assert stream is not None
        return f"http://127.0.0.1:{int(stream.readline())}"

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_what_the_predictor_does_not_model(follow: Any, start_engine: Callable[..., str], tmp_path: Path) -> None:
    """It is measured: by requests to a server of it."""
    pytest.importorskip("aiohttp")
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer, models

    from whichbits.serving.measure import measure
    from whichbits.serving.workload import parse_workload

    Tokenizer(models.WordLevel({f"w{n}": n for n in range(64)}, unk_token="w0")).save(str(tmp_path / "tokenizer.json"))
    load = {"name": "w", "prompt_tokens": 8, "output_tokens": 4, "concurrency": [], "requests_per_stream": 5}

    def bench() -> None:
        (found,) = measure(start_engine(ttft=0.02, itl=0.005), "m", tmp_path, parse_workload(load), seed=0)
        assert found.metrics.requests_per_second

    for error, config in (
        ("is not one that the predictor models", {**LLAMA, "model_type": "not_known"}),
        ("is not one that the predictor models", {name: value for name, value in LLAMA.items() if name != "model_type"}),
        ("which the predictor does not model", {**LLAMA, "model_type": "mamba"}),
    ):
        follow(error, mistake=partial(from_config, config), remedy=bench)
