from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.checkpoint.files import Stored  # noqa: E402
from whichbits.models.resolve import resolve  # noqa: E402
from whichbits.models.weights import refuse_zero_norms  # noqa: E402

Make = Callable[..., Path]
WEIGHTS = "model.safetensors"
NORM = "model.layers.1.input_layernorm.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """Edit the tensors of the folder's one file."""
    tensors = safetensors.load_file(folder / WEIGHTS)
    edit(tensors)
    kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    safetensors.save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def configure(folder: Path, **fields: Any) -> Path:
    """Change config.json; None leaves a field out."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def refusal(folder: Path, cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        resolve(str(folder), cache=cache)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


DAMAGES: Mapping[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing": (lambda t: t.pop(NORM), f"lacks {NORM}"),
    "missing head": (lambda t: t.pop("lm_head.weight"), "lacks lm_head.weight, and tie_word_embeddings is false"),
    "renamed": (lambda t: t.update({NORM + "s": t.pop(NORM)}), NORM),
    "unexpected": (lambda t: t.update({NORM.replace("input", "output"): t[NORM]}), "output_layernorm"),
    "bias of a model without": (lambda t: t.update({DOWN.replace("weight", "bias"): t[NORM]}), "down_proj.bias"),
    "transposed": (lambda t: t.update({DOWN: t[DOWN].t()}), f"{DOWN} has the shape 64 x 32"),
    "cut": (lambda t: t.update({DOWN: t[DOWN][:-1]}), f"{DOWN} has the shape 31 x 64"),
    "too few words": (lambda t: t.update({"model.embed_tokens.weight": t["model.embed_tokens.weight"][:-1]}), "embed_tokens"),
    "prefix": (lambda t: [t.update({f"module.{name}": t.pop(name)}) for name in list(t)], "named module."),
    "prefix of a compiler": (lambda t: [t.update({f"_orig_mod.{name}": t.pop(name)}) for name in list(t)], "named _orig_mod."),
    "one layer more": (
        lambda t: t.update({n.replace("rs.1.", "rs.2."): t[n] for n in list(t) if ".1." in n}), "num_hidden_layers = 2"
    ),
    "one layer fewer": (lambda t: [t.pop(name) for name in list(t) if ".layers.1." in name], "layers.1."),
    "adapter": (lambda t: t.update({DOWN.replace("weight", "lora_A.weight"): t[DOWN][:2]}), "not merged: .*lora_A"),
    "adapter's names": (
        lambda t: [t.update({f"base_model.model.{name}": t.pop(name)}) for name in list(t)], "not merged: base_model"
    ),
    "nan": (lambda t: t[DOWN][3].fill_(float("nan")), f"64 numbers of {DOWN} are not finite"),
    "minus infinity": (lambda t: t[NORM][3].fill_(float("-inf")), f"1 numbers of {NORM} are not finite"),
    "zeros": (lambda t: t[DOWN].zero_(), f"all numbers of {DOWN} are zero"),
    "minus zeros": (lambda t: t[DOWN].fill_(-0.0), f"all numbers of {DOWN} are zero"),
    "codes in FP8": (lambda t: t.update({DOWN: t[DOWN].to(torch.float8_e4m3fn)}), f"{DOWN} .*quantized"),
    "codes in INT8": (lambda t: t.update({DOWN: t[DOWN].to(torch.int8)}), f"{DOWN} .*quantized"),
    "scales": (lambda t: t.update({DOWN + "_scale": torch.ones(32, 1)}), "weight_scale .*quantized"),
    "another 16 bit of a norm": (lambda t: t.update({NORM: t[NORM].half()}), f"bfloat16, and {NORM} is stored in float16"),
    "whole numbers of a norm": (lambda t: t.update({NORM: t[NORM].to(torch.int8)}), f"{NORM} is stored as I8"),
    "truth values of a norm": (lambda t: t.update({NORM: t[NORM] > 0}), f"{NORM} is stored as BOOL"),
    "a norm of zeros": (lambda t: t[NORM].zero_(), f"all numbers of {NORM} are zero, and those of 4 other norms"),
    "another 16 bit": (lambda t: t.update({DOWN: t[DOWN].half()}), f"bfloat16, and {DOWN} is stored in float16"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_tensors_that_are_not_the_models_are_refused_by_name(name: str, make: Make, tmp_path: Path) -> None:
    edit, message = DAMAGES[name]
    folder = change(make(), edit)
    with pytest.raises(UserError, match=message):
        resolve(str(folder), cache=tmp_path)
    refusal(folder, tmp_path)  # again, from what is cached


@pytest.mark.parametrize("prefix", ["", "language_model."])
def test_norms_that_are_added_to_one_are_zero_before_any_training(prefix: str, tmp_path: Path) -> None:
    """Others that begin at 1, as of a tower that reads images, are of another stack."""
    own = [f"{prefix}model.layers.{n}.{part}.weight" for n in range(2) for part in ("input_layernorm", "q_norm")]
    own.append(f"{prefix}model.norm.weight")
    tower = [f"vision_tower.encoder.layers.{n}.norm.weight" for n in range(40)]
    stored = {name: Stored("BF16", (8,), 16, tmp_path / WEIGHTS) for name in (*own, *tower)}
    refuse_zero_norms(tmp_path, set(own), stored)
    for name in own:
        with pytest.raises(UserError, match=f"all numbers of {name} are zero, and those of 4 other norms"):
            refuse_zero_norms(tmp_path, {name}, stored)


def test_a_mixture_that_lacks_an_expert_names_it(make: Make, tmp_path: Path) -> None:
    lost = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    folder = make("Mixtral", num_local_experts=4)
    names = safetensors.load_file(folder / WEIGHTS)
    lost = next(name for name in names if ".layers.1." in name and ".experts.2." in name)
    assert lost in refusal(change(folder, lambda tensors: tensors.pop(lost)), tmp_path)


def test_what_loaders_ignore_is_ignored(make: Make, tmp_path: Path) -> None:
    def add_buffers(tensors: dict[str, Any]) -> None:
        for layer in range(2):
            prefix = f"model.layers.{layer}.self_attn.rotary_emb."
            tensors |= {prefix + "inv_freq": torch.ones(4), prefix + "cos_cached": torch.ones(1, 1, 8, 8)}

    folder = make()
    plain = resolve(str(folder), cache=tmp_path)
    model = resolve(str(change(folder, add_buffers)), cache=tmp_path)
    assert (model.bytes, model.shapes) == (plain.bytes, plain.shapes)


@pytest.mark.parametrize(
    ("family", "fields", "buffers"),
    [
        ("GPTNeoX", {}, ("gpt_neox.layers.0.attention.bias", "gpt_neox.layers.0.attention.masked_bias",
                         "gpt_neox.layers.0.attention.rotary_emb.inv_freq")),
        ("GPTNeo", {"num_layers": 2, "attention_types": [[["global", "local"], 1]]}, ("transformer.h.0.attn.attention.bias",)),
        ("GPTJ", {"rotary_dim": 4}, ("transformer.h.0.attn.bias", "transformer.h.1.attn.embed_positions")),
        ("CodeGen", {"rotary_dim": 4}, ("transformer.h.0.attn.causal_mask",)),
        ("Falcon", {"new_decoder_architecture": True}, ("transformer.h.0.self_attention.maybe_rotary.inv_freq",)),
    ],
)  # fmt: skip
def test_masks_and_rotary_tables_of_older_files_are_no_weights(
    family: str, fields: dict[str, Any], buffers: tuple[str, ...], make: Make, tmp_path: Path
) -> None:
    folder = change(make(family, **fields), lambda tensors: tensors.update({n: torch.ones(1, 1, 8, 8) > 0 for n in buffers}))
    assert not set(buffers) & set(resolve(str(folder), cache=tmp_path).shapes)


def test_layers_that_predict_further_tokens_are_said_by_the_configuration(make: Make, tmp_path: Path) -> None:
    folder = change(make(), lambda t: t.update({n.replace("rs.1.", "rs.2."): t[n] for n in list(t) if ".1." in n}))
    assert "num_nextn_predict_layers" in refusal(folder, tmp_path)
    assert "layers.2" in refusal(configure(folder, num_nextn_predict_layers=1), tmp_path)  # it is one like the others
    predicts = change(folder, lambda t: t.update({"model.layers.2.eh_proj.weight": t[DOWN]}))
    assert resolve(str(predicts), cache=tmp_path).configuration.prediction_layers == 1


def test_a_tied_model_with_a_head_of_its_own_is_refused_with_a_remedy_that_helps(make: Make, tmp_path: Path) -> None:
    tied = make(tie_word_embeddings=True)
    same = change(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]}))
    assert resolve(str(same), cache=tmp_path).configuration.tied
    other = change(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}))
    assert "lm_head.weight is stored with other numbers" in refusal(other, tmp_path)
    assert resolve(str(configure(other, tie_word_embeddings=False)), cache=tmp_path).dtype == "bfloat16"


def test_stored_dtypes_against_the_stated_one(make: Make, tmp_path: Path) -> None:
    folder = make()
    plain = resolve(str(folder), cache=tmp_path).bytes
    norms = change(folder, lambda t: t.update({name: t[name].float() for name in t if "norm" in name}))
    assert (resolve(str(norms), cache=tmp_path).dtype, resolve(str(norms), cache=tmp_path).bytes) == ("bfloat16", plain)
    wide = change(folder, lambda t: t.update({name: t[name].float() for name in t}))
    assert (resolve(str(wide), cache=tmp_path).dtype, resolve(str(wide), cache=tmp_path).bytes) == ("bfloat16", plain)
    assert "float32" in refusal(configure(folder, dtype=None), tmp_path)
    narrow = change(folder, lambda t: t.update({name: t[name].half() for name in t}))
    assert resolve(str(narrow), cache=tmp_path).dtype == "float16"
    message = refusal(configure(narrow, dtype="float32"), tmp_path)
    assert "float32" in message and "stored in float16" in message
    assert resolve(str(configure(narrow, dtype="float16")), cache=tmp_path).format.name == "fp16"


def test_float32_that_float16_cannot_hold(make: Make, tmp_path: Path) -> None:
    def widen(tensors: dict[str, Any]) -> None:
        tensors.update({name: tensors[name].float() for name in tensors})
        tensors[DOWN][0, 0] = 70_000

    folder = configure(change(make(), widen), dtype="float16")
    assert f"{DOWN} is stored in float32" in refusal(folder, tmp_path)
    assert resolve(str(configure(folder, dtype="bfloat16")), cache=tmp_path).dtype == "bfloat16"


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


ADAPTERS = (
    "q_proj.vera_lambda_b", "q_proj.ia3_l", "q_proj.oft_R", "q_proj.boft_R", "q_proj.hada_w1_a", "q_proj.lokr_w1",
    "q_proj.fourierft_spectrum", "q_proj.hra_u", "q_proj.lora_magnitude_vector", "q_proj.base_layer.weight",
    "modules_to_save.default.weight", "q_proj.trainable_tokens_delta",
)  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_tensors_of_an_adapter_among_the_weights(name: str, make: Make, tmp_path: Path) -> None:
    folder = make()
    change(folder, lambda tensors: tensors.update({f"model.layers.0.self_attn.{name}": tensors[NORM].clone()}))
    said = refusal(folder, tmp_path)
    assert f"not merged: model.layers.0.self_attn.{name}" in said
    assert "merge_and_unload" in said


@pytest.mark.parametrize(
    ("stated", "whole", "says", "remedy"),
    [
        ('{"peft_type": "VERA"}', True, "holds a whole model and an adapter of kind VERA", "remove adapter_config.json"),
        ("{}", True, "holds a whole model and an adapter (", "remove adapter_config.json"),
        ('{"peft_type": "IA3", "base_model_name_or_path": "o/b"}', False, "is an adapter of kind IA3", "base (o/b) first"),
        ('{"peft_type": "PROMPT_TUNING"}', False, "changes no weight", "give its base model:"),
        ("{", False, "is an adapter (", "merge it into its base first"),
        ("[]", False, "is an adapter (", "merge it into its base first"),
        ('{"peft_type": 7}', False, "is an adapter (", "merge it into its base first"),
    ],
)
def test_an_adapter_is_no_model(stated: str, whole: bool, says: str, remedy: str, make: Make, tmp_path: Path) -> None:
    folder = make()
    if not whole:
        (folder / WEIGHTS).unlink()
    (folder / "adapter_config.json").write_text(stated)
    said = refusal(folder, tmp_path)
    assert says in said
    assert remedy in said


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
