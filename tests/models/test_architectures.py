"""Every line of architectures.yaml against the library's classes, and every refusal with its reason."""

import json

import pytest

from whichbits.core.errors import UserError
from whichbits.models.architectures import architectures, from_config
from whichbits.models.catalogue import find_shape

IN_LIBRARY = sorted(architectures().keys() - {"PanguEmbedded"})
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512,
}  # fmt: skip
SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "vocab_size": 100, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40,
    "shared_intermediate_size": 40, "intermediate_size_mlp": 80, "num_local_experts": 8, "num_experts": 8, "moe_num_experts": 8,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_k": 2, "n_shared_experts": 2, "moe_num_shared_experts": 2,
    "first_k_dense_replace": 1, "decoder_sparse_step": 2, "mlp_only_layers": [1], "moe_layer_start_index": 2,
    "moe_layer_end_index": -1, "interleave_moe_layer_step": 3, "n_embd": 64, "n_layer": 6, "n_head": 4, "ffn_dim": 96,
    "word_embed_proj_dim": 64, "pad_token_id": 0, "n_group": 1, "topk_group": 1,
}  # fmt: skip


def small(model_type: str) -> dict[str, object]:
    """A small configuration: of SMALL what the class of the library has."""
    transformers = pytest.importorskip("transformers")
    known = transformers.CONFIG_MAPPING[model_type]()
    return {"model_type": model_type, **{key: value for key, value in SMALL.items() if hasattr(known, key)}}


@pytest.mark.parametrize("model_type", IN_LIBRARY)
def test_what_a_minimal_configuration_leaves_out_is_the_librarys_default(model_type: str) -> None:
    transformers = pytest.importorskip("transformers")
    # What two classes leave out: dots1 its experts, glm4_moe a head_dim that its 96 heads need.
    more = {"dots1": {"n_routed_experts": 8, "num_experts_per_tok": 2}, "glm4_moe": {"head_dim": 128}}.get(model_type, {})
    whole = transformers.CONFIG_MAPPING[model_type](**more).to_dict()
    assert from_config({"model_type": model_type, **more}) == from_config(whole)


@pytest.mark.parametrize(
    ("model_type", "more"),
    [
        ("glm4_moe", {"num_nextn_predict_layers": 1}),
        ("ernie4_5_moe", {"num_nextn_predict_layers": 1}),
        ("minimax_m2", {"use_mtp": True, "num_mtp_modules": 3, "mtp_transformer_layers": 1}),
        ("minimax_m2", {"use_mtp": True, "num_mtp_modules": 3, "attn_type_list": [1, 1]}),
    ],
)
def test_layers_that_predict_further_tokens_are_not_counted(model_type: str, more: dict[str, object]) -> None:
    base = {"model_type": model_type, "head_dim": 128}
    assert from_config({**base, **more}) == from_config(base)


@pytest.mark.parametrize("model_type", IN_LIBRARY)
def test_the_sizes_are_those_of_the_model_that_the_library_builds(model_type: str) -> None:
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    config = transformers.CONFIG_MAPPING[model_type](**small(model_type))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    blocks = max((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=lambda m: len(list(m.parameters())))
    inside = sum(
        p.numel()
        for name, p in blocks.named_parameters()
        if p.dim() >= 2 and "bias" not in name and "shared_expert_gate" not in name  # a gate of one row
    )
    shape = from_config(small(model_type))
    assert shape.block_parameters == inside
    assert shape.hidden * shape.vocab == model.get_input_embeddings().weight.numel()
    assert shape.tied == config.tie_word_embeddings
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        assert shape.sliding_layers == sum(kind != "full_attention" for kind in kinds)


@pytest.mark.parametrize(
    ("more", "sliding", "dense"),
    [
        ({"model_type": "mistral", "sliding_window": None}, 0, 0),
        ({"model_type": "mistral"}, 2, 0),
        ({"model_type": "qwen3"}, 0, 0),
        ({"model_type": "qwen3", "use_sliding_window": True, "max_window_layers": 1}, 1, 0),
        ({"model_type": "gemma3_text", "num_hidden_layers": 26, "sliding_window_pattern": 6}, 22, 0),
        ({"model_type": "gemma3_text", "layer_types": ["full_attention", "sliding_attention"]}, 1, 0),
        ({"model_type": "qwen2_moe", "num_hidden_layers": 8, "mlp_only_layers": [0, 3]}, 0, 2),
        ({"model_type": "glm4_moe", "num_hidden_layers": 9, "first_k_dense_replace": 3}, 0, 3),
        ({"model_type": "dots1", "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_layer_freq": 2}, 0, 1),
        ({"model_type": "ernie4_5_moe", "num_hidden_layers": 9, "moe_layer_start_index": 3}, 0, 3),
        ({"model_type": "llama4_text", "num_hidden_layers": 8, "interleave_moe_layer_step": 2}, 6, 4),
        ({"model_type": "llama4_text", "num_hidden_layers": 8, "moe_layers": [1, 2]}, 6, 6),
    ],
)
def test_layers_with_windows_and_without_experts_are_counted(more: dict[str, object], sliding: int, dense: int) -> None:
    shape = from_config({**LLAMA, **more})
    assert (shape.sliding_layers, shape.dense_layers) == (sliding, dense)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"model_type": None}, "lacks 'model_type'"),
        ({"model_type": "never-heard-of"}, "'never-heard-of'"),
        ({"model_type": ["llama"]}, "not one that"),
        ({"model_type": "deepseek_v3"}, "latent attention"),
        ({"kv_lora_rank": 512}, "latent attention .kv_lora_rank"),
        ({"n_routed_experts": 64}, "n_routed_experts"),
        ({"model_type": "mixtral", "moe_num_experts": 8}, "moe_num_experts"),
        ({"model_type": "qwen3_next"}, "linear attention"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers of linear_attention"),
        ({"model_type": "mamba2"}, "state-space"),
        ({"mamba_d_state": 16}, "state-space"),
        ({"model_type": "lfm2"}, "convolutions"),
        ({"model_type": "t5"}, "an encoder"),
        ({"is_encoder_decoder": True}, "an encoder"),
        ({"num_nextn_predict_layers": 1}, "multi-token prediction .num_nextn_predict_layers"),
        ({"model_type": "qwen3_moe", "mtp_num_hidden_layers": 1}, "multi-token prediction"),
        ({"model_type": "glm4_moe", "use_mtp": True}, "multi-token prediction .use_mtp"),
        ({"model_type": "mimo", "num_mtp_layers": 1}, "multi-token prediction"),
        ({"model_type": "minimax_m2", "attn_type_list": [0, 1]}, "linear attention"),
        ({"vision_config": {"depth": 2}}, "a vision tower"),
        ({"model_type": "gemma3", "text_config": LLAMA}, "a vision tower"),
        ({"model_type": "opt", "word_embed_proj_dim": 32}, "narrower"),
        ({"model_type": "smollm3", "use_sliding_window": True}, "a sliding window"),
        ({"model_type": "falcon"}, "'falcon'"),
        ({"block_configs": [{}]}, "different sizes"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(more: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        from_config({**LLAMA, **more})


WRONG = {
    "hidden_size": ["64", -64, 0, 1.5, True, None, float("nan"), float("inf"), 10**400, [64]],
    "num_attention_heads": [0, "4", 3, 5],
    "num_key_value_heads": [3, 0, -2, "2"],
    "num_hidden_layers": [0, 10**9, "two"],
    "vocab_size": [0, {}, "32k"],
    "max_position_embeddings": [-1, 1e4],
    "tie_word_embeddings": ["false", 1],
    "intermediate_size": [[96, 96], 0],
    "layer_types": [["full_attention"], "full_attention", [1, 2]],
    "head_dim": [0, 16.0],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_size_that_cannot_be_is_refused_by_field(name: str, value: object) -> None:
    with pytest.raises(UserError, match=name):
        from_config({**LLAMA, name: value})


def test_experts_that_cannot_be_are_refused_by_field() -> None:
    with pytest.raises(UserError, match=r"num_experts_per_tok.*more than the 4 experts"):
        from_config({**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 5})
    with pytest.raises(UserError, match="moe_layers"):
        from_config({**LLAMA, "model_type": "llama4_text", "moe_layers": ["1"]})


def test_the_name_of_the_class_stands_in_for_the_type() -> None:
    bare = {key: value for key, value in LLAMA.items() if key != "model_type"}
    assert from_config({**bare, "architectures": ["LlamaForCausalLM"]}) == from_config(LLAMA)
    assert from_config({**bare, "architectures": ["Gemma3ForCausalLM"]}).tied
    with pytest.raises(UserError, match="lacks 'model_type'"):
        from_config({**bare, "architectures": ["LlamaForSequenceClassification"]})


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (
            "openai/gpt-oss-20b",
            {"model_type": "gpt_oss", "num_hidden_layers": 24, "num_local_experts": 32, "experts_per_token": 4},
        ),
        (
            "google/gemma-3-1b-it",
            {
                "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_attention_heads": 4,
                "num_key_value_heads": 1, "vocab_size": 262144, "max_position_embeddings": 32768, "sliding_window": 512,
            },
        ),
        (
            "mistralai/Mixtral-8x7B-v0.1",
            {"model_type": "mixtral", "max_position_embeddings": 32768, "sliding_window": None},
        ),
    ],
)  # fmt: skip
def test_published_configurations_give_the_catalogues_shapes(name: str, config: dict[str, object], tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    known, read = find_shape(name, allow_download=False), find_shape(str(tmp_path))
    assert {**vars(read), "id": known.id} == vars(known)
