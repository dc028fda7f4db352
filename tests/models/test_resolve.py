"""A model is found, and is what its configuration says."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from tests.models.folders import DOWN, WEIGHTS, Make, configure, refusal  # noqa: E402
from whichbits.core.errors import UserError  # noqa: E402
from whichbits.models.resolve import resolve  # noqa: E402


def test_a_local_folder(make: Make, tmp_path: Path) -> None:
    folder = make()
    model = resolve(str(folder), cache=tmp_path)
    assert (model.path, model.dtype, model.format.name, model.max_positions, model.notes) == (
        folder,
        "bfloat16",
        "bf16",
        128,
        (),
    )
    assert {"config.json", WEIGHTS, "tokenizer.json"} <= set(model.files)
    assert model.files["config.json"] == hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    sizes = [tensor.nbytes for tensor in safetensors.load_file(folder / WEIGHTS).values()]
    assert model.bytes == sum(sizes)
    assert model.shapes[DOWN] == (32, 64)


def test_sizes_come_from_the_class_where_the_file_leaves_them_out(make: Make, tmp_path: Path) -> None:
    """GPT-2's names, OPT's names, and a Gemma 3 whose file says only what differs from the defaults."""
    gpt2 = resolve(str(make("GPT2", max_position_embeddings=96, num_key_value_heads=4)), cache=tmp_path)
    assert "n_positions" in (gpt2.path / "config.json").read_text()
    assert (gpt2.max_positions, gpt2.configuration.layers, gpt2.configuration.kv_heads) == (96, 2, 4)
    assert gpt2.configuration.kv_bytes_per_token == 2 * 2 * 2 * 32
    opt = resolve(str(make("OPT", ffn_dim=64, word_embed_proj_dim=32)), cache=tmp_path)
    assert (opt.max_positions, opt.configuration.head_dim) == (128, 8)
    gemma = make("Gemma3Text", num_attention_heads=8, num_key_value_heads=4, head_dim=256, max_position_embeddings=131072)
    left_out = ("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings", "tie_word_embeddings")
    model = resolve(str(configure(gemma, **dict.fromkeys(left_out))), cache=tmp_path)
    assert (model.max_positions, model.configuration.heads, model.configuration.head_dim) == (131072, 8, 256)


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 16}),
        ("Phi3", {}),
        ("Gemma2", {"head_dim": 8, "tie_word_embeddings": True}),
        ("Granite", {"tie_word_embeddings": True}),
        ("Mixtral", {"num_local_experts": 4}),
        ("Qwen2Moe", {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}),
        ("DeepseekV3", {
            "n_routed_experts": 4, "moe_intermediate_size": 16, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4, "v_head_dim": 8, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
        }),
        ("GPTNeoX", {}),
        ("Falcon", {}),
    ],
)  # fmt: skip
def test_models_of_many_families_are_their_own(family: str, fields: dict[str, Any], make: Make, tmp_path: Path) -> None:
    assert resolve(str(make(family, **fields)), cache=tmp_path).dtype == "bfloat16"


def test_only_the_models_files_count(make: Make, tmp_path: Path) -> None:
    folder = make()
    plain = resolve(str(folder), cache=tmp_path)
    shutil.copyfile(folder / WEIGHTS, folder / "consolidated.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"0" * 1000)
    again = resolve(str(folder), cache=tmp_path)
    assert (again.bytes, again.files) == (plain.bytes, plain.files)
    (folder / WEIGHTS).unlink()
    assert "neither model.safetensors nor model.safetensors.index.json" in refusal(folder, tmp_path)


def shard(folder: Path, weight_map: Mapping[str, str] | None = None) -> Path:
    """Store a folder's tensors in two files with an index, embeddings and head in the first."""
    tensors = safetensors.load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    where = {name: f"model-0000{1 if '.layers.' not in name else 2}-of-00002.safetensors" for name in tensors}
    for file in set(where.values()):
        safetensors.save_file({name: tensors[name] for name in tensors if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where | dict(weight_map or {})}))
    return folder


def test_shards_and_their_index(make: Make, tmp_path: Path) -> None:
    assert len(resolve(str(shard(make())), cache=tmp_path).shapes) == 21
    lacking = shard(make())
    (lacking / "model-00002-of-00002.safetensors").unlink()
    assert "lacks the shard model-00002" in refusal(lacking, tmp_path)
    unknown = shard(make(), {"model.layers.7.mlp.up_proj.weight": "model-00001-of-00002.safetensors"})
    assert "no shard holds the tensor model.layers.7" in refusal(unknown, tmp_path)
    doubled = shard(make())
    shutil.copyfile(doubled / "model-00001-of-00002.safetensors", doubled / "a.safetensors")
    first = json.loads((doubled / "model.safetensors.index.json").read_text())["weight_map"] | {
        "lm_head.weight": "a.safetensors"
    }
    (doubled / "model.safetensors.index.json").write_text(json.dumps({"weight_map": first}))
    assert "is in a.safetensors and in model-00001" in refusal(doubled, tmp_path)
    both = make()
    shutil.copyfile(both / WEIGHTS, tmp_path / "kept")
    shutil.copyfile(tmp_path / "kept", shard(both) / WEIGHTS)
    assert "two sets of weights" in refusal(both, tmp_path)


def test_a_truncated_file(make: Make, tmp_path: Path) -> None:
    weights = make() / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "model.safetensors is truncated" in refusal(weights.parent, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "llama-of-tomorrow"}, "model_type 'llama-of-tomorrow'"),
        ({"model_type": None}, "names no model_type"),
        ({"model_type": "t5"}, "t5"),
        ({"dtype": "float32"}, "float32"),
        ({"hidden_size": "wide"}, "config.json"),
        ({"hidden_size": 33}, "config.json|shape"),
        ({"num_attention_heads": 0}, "config.json"),
        ({"vocab_size": 65}, "lm_head"),
        ({"num_key_value_heads": 4}, "k_proj"),
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "Python code of its own"),
        ({"text_config": {"vocab_size": 64}}, "text_config"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is not a finite number"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": float("inf")}},
            "rope_parameters.rope_theta is not a finite",
        ),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000, and no model has more than"),
        ({"num_experts": 10**9}, "num_experts is 1000000000, and no model has more than"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification, which is no language model"),
        ({"architectures": ["GemmaForCausalLM"]}, "GemmaForCausalLM, which is no language model of model_type llama"),
    ],
)
def test_what_a_configuration_may_not_say(fields: dict[str, Any], message: str, make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        resolve(str(configure(make(), **fields)), cache=tmp_path)


def test_a_model_that_reads_in_both_directions_is_no_language_model(make: Make, tmp_path: Path) -> None:
    folder = make("Bert")
    assert "see the text behind a token too" in refusal(folder, tmp_path)
    assert resolve(str(configure(folder, is_decoder=True)), cache=tmp_path).configuration.model_type == "bert"


def test_custom_code_is_part_of_the_model_once_allowed(make: Make, tmp_path: Path) -> None:
    """The model type is one that transformers knows, so its own class is used."""
    folder = configure(make(), auto_map={"AutoModel": "modeling.Model"})
    (folder / "modeling.py").write_text("raise SystemExit('nothing asked for this class')")
    assert "modeling.py" in resolve(str(folder), cache=tmp_path, trust_remote_code=True).files


def test_a_tokenizer_is_there_and_the_models_own(make: Make, tmp_path: Path) -> None:
    folder = make(vocab_size=32)
    assert "ids up to 63, and the model's vocabulary ends at 31" in refusal(folder, tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer: that of" in refusal(folder, tmp_path)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "tokenizer" in refusal(folder, tmp_path)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"{", "download"), (b"[]", "download"), (b'{"a":' + b"[" * 100_000, "download"), (b"\xef\xbb\xbf{}", "order mark"),
        (b'{"name": "\xfc"}', "UTF-8"), ("{}".encode("utf-16"), "UTF-8"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_none(content: bytes, remedy: str, make: Make, tmp_path: Path) -> None:
    folder = make()
    (folder / "config.json").write_bytes(content)
    message = refusal(folder, tmp_path)
    assert "config.json is not" in message and remedy in message.partition("→")[2]


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_links_that_lead_nowhere_and_folders_are_no_files(name: str, make: Make, tmp_path: Path) -> None:
    folder = make()
    (folder / name).unlink()
    for spoil in (lambda: (folder / name).symlink_to(name), lambda: (folder / name).mkdir()):
        spoil()
        assert name in refusal(folder, tmp_path)
        if (folder / name).is_symlink():
            (folder / name).unlink()


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    assert "holds no config.json" in refusal(tmp_path, tmp_path)


@pytest.mark.parametrize("reference", ["no-such-model", "./no/such/folder", "/no/such/folder"])
def test_a_reference_to_nothing_lists_what_can_be_given(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a folder nor a hub id") as caught:
        resolve(reference, cache=tmp_path)
    assert "smollm2-135m-instruct" in caught.value.remedy


@pytest.mark.model
def test_the_embedded_model(embedded_model: Path) -> None:
    model = resolve("smollm2-135m-instruct")
    assert model.path == embedded_model
    assert (model.dtype, model.max_positions, model.configuration.hidden) == ("bfloat16", 8192, 576)
    assert model.configuration.kv_bytes_per_token == 30 * 3 * 64 * 2 * 2
    assert "Q4_1" in model.notes[0]


@pytest.mark.parametrize("reference", ["", "a" * 5000, "~nobody-of-this-name/model", "a\0b", "a--b/c", f"{'a' * 200}/b"])
def test_what_cannot_be_a_model_is_a_mistake_in_one_line(reference: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model ") as caught:
        resolve(reference, cache=tmp_path, allow_download=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
