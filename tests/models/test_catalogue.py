import json
import socket
from threading import Thread

import pytest

from whichbits.core.errors import UserError
from whichbits.models.catalogue import catalogue, find_shape

# Parameters in billions as the models' cards state them.
TOTALS = {
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
    "meta-llama/Llama-3.1-70B-Instruct": 70.55,
    "meta-llama/Llama-3.1-405B-Instruct": 405.85,
    "Qwen/Qwen2.5-7B-Instruct": 7.62,
    "Qwen/Qwen3-32B": 32.76,
    "mistralai/Mistral-7B-v0.1": 7.24,
    "mistralai/Mixtral-8x7B-v0.1": 46.7,
    "google/gemma-2-9b-it": 9.24,
    "microsoft/phi-4": 14.66,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 0.1345,
    "openai/gpt-oss-120b": 116.8,
}


@pytest.mark.parametrize(("name", "billions"), TOTALS.items())
def test_shapes_have_the_parameters_the_cards_state(name: str, billions: float) -> None:
    shape = find_shape(name, allow_download=False)
    total = shape.block_parameters + shape.hidden * shape.vocab * (1 if shape.tied else 2)
    assert total / 1e9 == pytest.approx(billions, rel=0.005)


def test_a_distilled_or_quantized_model_has_its_origins_shape() -> None:
    llama = find_shape("meta-llama/Llama-3.1-8B-Instruct")
    assert find_shape("deepseek-ai/DeepSeek-R1-Distill-Llama-8B") is llama
    assert find_shape("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", allow_download=False) is llama
    assert find_shape("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", allow_download=False) is llama


def test_a_local_configuration_gives_the_catalogues_shape(tmp_path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    known = find_shape("meta-llama/Llama-3.1-8B-Instruct")
    assert find_shape(str(tmp_path)).block_parameters == known.block_parameters
    assert find_shape(str(tmp_path)).kv_width == known.kv_width


def test_unknown_names_and_files_are_user_errors(tmp_path) -> None:
    with pytest.raises(UserError, match="neither"):
        find_shape("nobody/nothing", allow_download=False)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot read"):
        find_shape(str(tmp_path))


@pytest.mark.parametrize("missing", ["/models/Qwen3-8B", "./Qwen3-8B", "~/Qwen3-8B", "runs/7/Qwen3-8B", "../Qwen3-8B", ""])
def test_a_path_where_nothing_is_is_not_taken_for_a_model_of_that_name(missing: str) -> None:
    with pytest.raises(UserError, match="neither in the catalogue"):
        find_shape(missing, allow_download=False)


def test_a_configuration_with_a_byte_order_mark_is_read_and_one_that_is_too_deep_is_not(tmp_path) -> None:
    (tmp_path / "config.json").write_text('\ufeff{"model_type": "qwen3", "num_hidden_layers": 7}', encoding="utf-8")
    assert find_shape(str(tmp_path)).layers == 7
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="cannot read"):
        find_shape(str(tmp_path))


def test_a_revision_is_looked_up_in_the_hubs_cache_and_never_in_the_catalogue(tmp_path, monkeypatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    commit = "a" * 40
    repository = tmp_path / "models--meta-llama--Llama-3.1-8B-Instruct"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "old").write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 3}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for revision in ("old", commit):
        assert find_shape(f"meta-llama/Llama-3.1-8B-Instruct@{revision}").layers == 3
    assert find_shape("meta-llama/Llama-3.1-8B-Instruct").layers == 32
    with pytest.raises(UserError, match="names a revision"):
        find_shape("meta-llama/Llama-3.1-8B-Instruct@other")


def test_heads_and_widths_are_consistent() -> None:
    for name, shape in catalogue().items():
        assert shape.heads % shape.kv_heads == 0, name
        assert shape.sliding_layers <= shape.layers
        assert (shape.experts == 0) == (shape.active_experts == 0)


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = []

    def refuse(*arguments: str, **options: object) -> str:
        asked.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    for _ in range(2):
        with pytest.raises(UserError, match="hub gave no config"):
            find_shape("some-owner/some-model-that-is-not-listed")
    assert len(asked) == 2  # its cache, then the hub


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nbroken header\r\n\r\n", b"no HTTP at all\r\n\r\n"],
    ids=["hangs up", "broken header", "another protocol"],
)
def test_a_hub_that_answers_nothing_useful_is_said_in_a_line(answer: bytes, monkeypatch, tmp_path) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        Thread(target=answer_each, args=(server, answer), daemon=True).start()
        with pytest.raises(UserError, match="hub gave no config"):
            find_shape(f"an-owner/{tmp_path.name}")


def answer_each(server: socket.socket, answer: bytes) -> None:
    """Send the same bytes to whoever connects, and hang up."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
