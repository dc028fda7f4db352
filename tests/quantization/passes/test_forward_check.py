"""Before a calibrated pass the walk through the layers is compared with the library's own forward."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("accelerate")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.quantization.passes import forward_check  # noqa: E402
from whichbits.quantization.passes.forward_check import TRANSFORMED, check_agreement, distance, tolerance  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402

SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 160, "initializer_range": 0.08, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
WALKED: dict[str, dict[str, Any]] = {
    "Llama": {"attention_bias": True, "mlp_bias": True},
    "Qwen2": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": 8},
    "Gemma": {"head_dim": 16},
    "Gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "attn_logit_softcapping": 0.5},
    "Gemma3Text": {"head_dim": 16, **SLIDING},
    "Phi3": {},
    "Granite": {
        "embedding_multiplier": 6.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1, "logits_scaling": 2.0,
    },
    "Olmo": {"clip_qkv": 0.3},
    "Olmo2": {},
    "Olmo3": {"sliding_window": 8},
    "Cohere": {"logit_scale": 0.25, "use_qk_norm": True},
    "Cohere2": {"logit_scale": 0.25, "sliding_window": 8},
    "StableLm": {"use_qkv_bias": True, "use_parallel_residual": True},
    "Nemotron": {},
    "Phi": {},
    "Persimmon": {},
    "SmolLM3": {"no_rope_layers": [1, 0]},
    "HunYuanDenseV1": {"head_dim": 16},
    "Exaone4": SLIDING,
    "Glm4": {"head_dim": 16},
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64,
    },
    "Glm4Moe": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1, "n_group": 2,
        "topk_group": 1, "head_dim": 16,
    },
}  # fmt: skip
"""Classes that are walked, and what a small model of each is told beside the sizes that all share."""


def save(family: str, folder: Path, dtype: torch.dtype = torch.bfloat16, **fields: Any) -> Path:
    """A random two-layer model whose norms are not one and whose biases are large."""
    torch.manual_seed(0)
    model_class = getattr(transformers, family.removesuffix("Text") + "ForCausalLM")
    model = model_class(getattr(transformers, family + "Config")(**SIZES, **fields))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 and "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.normal_(std=0.3)
    model.to(dtype).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", WALKED)
def test_the_walk_is_the_librarys_forward_to_rounding(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """All that is compared agrees, scales merged into weights included where a norm feeds a linear layer."""
    seen: list[float] = []

    def noted(*tensors: torch.Tensor) -> float:
        seen.append(distance(*tensors))
        return seen[-1]

    monkeypatch.setattr(forward_check, "distance", noted)
    post_normed = family in ("Olmo", "Olmo2", "Olmo3", "Exaone4")
    recipes = [] if post_normed else [Recipe(rounding="gptq", balancing=1.0)]
    check_agreement(save(family, tmp_path / "base", **WALKED[family]), recipes)
    # What reaches two layers, two outputs, three of the head; and each kind of layer scaled.
    assert len(seen) == 7 + (0 if post_normed else 2 if family == "Glm4Moe" else 1)
    assert max(seen) <= tolerance(torch.float64)


def test_a_rotation_that_is_merged_changes_nothing(tmp_path: Path, one_thread: None) -> None:
    check_agreement(save("Qwen2", tmp_path / "base"), [Recipe(rounding="gptq", rotation=True)])


def edited(base: Path, folder: Path, **fields: Any) -> Path:
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def own_code(base: Path, folder: Path, body: str) -> Path:
    """The Llama in `base` as a model with Python code of its own, which is one with what `body` says."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "own", "architectures": ["OwnForCausalLM"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config))
    code = (
        "import torch\nfrom transformers import LlamaConfig, LlamaForCausalLM\n\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n\n"
        f"class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n\n{body}"
    )
    (folder / "own.py").write_text(code)
    return folder


INIT = "    def __init__(self, config):\n        super().__init__(config)\n"
BELIEFS = {
    "scaled logits": (
        "the logits",
        "    def forward(self, *args, labels=None, **kwargs):\n"
        "        result = super().forward(*args, **kwargs)\n"
        "        result.logits = result.logits * 0.5\n"
        "        result.loss = torch.zeros(())\n"
        "        return result\n",
    ),
    "states divided before the head": (
        "what reaches the head",
        INIT + "        self.lm_head.register_forward_pre_hook(lambda head, args: (args[0] / 1.01,))\n",
    ),
    "another loss": (
        "the loss",
        "    def forward(self, *args, **kwargs):\n"
        "        result = super().forward(*args, **kwargs)\n"
        "        result.loss = result.loss * 1.001\n"
        "        return result\n",
    ),
    "a stream that is scaled between layers": (
        "what layer 0 passes on to layer 1",
        INIT
        + "        self.model.layers[1].register_forward_pre_hook(\n"
        + "            lambda layer, args: (args[0] * 1.001,) if torch.is_tensor(args[0]) else None)\n",
    ),
    "what depends on the tokens": (
        "the output of layer 0",
        "    def forward(self, input_ids=None, **kwargs):\n"
        "        for layer in self.model.layers:\n"
        "            layer.mlp.act_fn = torch.nn.SiLU() if len(input_ids) == 1 else torch.nn.GELU()\n"
        "        return super().forward(input_ids=input_ids, **kwargs)\n",
    ),
}
"""What a model's own code may do that the pass does not, and what is named as differing first."""


@pytest.mark.parametrize("belief", BELIEFS)
def test_what_the_pass_does_not_compute_is_refused_by_name(belief: str, tmp_path: Path, one_thread: None) -> None:
    what, body = BELIEFS[belief]
    folder = own_code(save("Llama", tmp_path / "base"), tmp_path / belief.replace(" ", "_"), body)
    with pytest.raises(UserError, match=what) as refused:
        check_agreement(folder, trust_remote_code=True)
    assert "--recipe nearest" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("field", ["logit_scale", "final_logit_softcapping"])
def test_a_head_that_is_read_otherwise_is_refused(field: str, tmp_path: Path, one_thread: None) -> None:
    """A field that means nothing to a Llama, and that the pass would go by."""
    folder = edited(save("Llama", tmp_path / "base"), tmp_path / "edited", **{field: 0.5})
    with pytest.raises(UserError, match="the logits"):
        check_agreement(folder)


def test_scales_that_would_change_the_model_are_refused(tmp_path: Path, one_thread: None) -> None:
    """Values that are held within bounds, as OLMo does: scales of `o_proj`'s input cannot be merged into `v_proj`."""
    body = (
        INIT
        + "        for layer in self.model.layers:\n"
        + "            layer.self_attn.v_proj.register_forward_hook(lambda v, args, out: out.clamp(-0.3, 0.3))\n"
    )
    folder = own_code(save("Llama", tmp_path / "base"), tmp_path / "own", body)
    check_agreement(folder, [Recipe(rounding="gptq", smoothing=0.5)], trust_remote_code=True)
    with pytest.raises(UserError, match="balancing"):
        check_agreement(folder, [Recipe(rounding="gptq", balancing=1.0)], trust_remote_code=True)


@pytest.mark.parametrize(
    ("name", "what"), [("model.layers.1.mlp.extra.weight", "unknown"), ("model.layers.1.mlp.up_proj.weight", "missing")]
)
def test_a_tensor_too_many_or_too_few_is_named(name: str, what: str, tmp_path: Path, one_thread: None) -> None:
    base = save("Llama", tmp_path / "base")
    tensors = safetensors.load_file(base / "model.safetensors")
    if tensors.pop(name, None) is None:
        tensors[name] = torch.zeros(8, 64).to(torch.bfloat16)
    safetensors.save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{name}.* {what}"):
        check_agreement(base)


def test_a_model_of_other_layers_is_refused_in_one_line(tmp_path: Path, one_thread: None) -> None:
    transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4)).save_pretrained(
        tmp_path / "gpt2"
    )
    with pytest.raises(UserError, match=r"model\.layers\.N") as refused:
        check_agreement(tmp_path / "gpt2")
    assert "\n" not in str(refused.value)


def test_what_cannot_be_run_is_refused_in_one_line(tmp_path: Path, one_thread: None) -> None:
    body = "    def forward(self, *args, **kwargs):\n        raise KeyError('a line\\nand another')\n"
    folder = own_code(save("Llama", tmp_path / "base"), tmp_path / "own", body)
    with pytest.raises(UserError, match="KeyError") as refused:
        check_agreement(folder, trust_remote_code=True)
    assert "\n" not in str(refused.value)


def test_fp16_that_overflows_is_refused_with_what_helps(tmp_path: Path, one_thread: None) -> None:
    """The advice is followed: the same model in BF16 is accepted."""
    base = save("Llama", tmp_path / "base", torch.float16)
    check_agreement(base)
    tensors = safetensors.load_file(base / "model.safetensors")
    for name in tensors:
        if ".0.mlp." in name:
            tensors[name] *= 60
    safetensors.save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"behind layer 0.*FP16.*bfloat16"):
        check_agreement(base)
    transformers.AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16").save_pretrained(tmp_path / "wider")
    check_agreement(tmp_path / "wider")


def test_a_model_is_compared_once_in_a_process(
    random_base: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    base = random_base("Llama")
    check_agreement(base)
    monkeypatch.setattr(forward_check, "_Comparison", None)
    check_agreement(base)


def test_distance_by_hand() -> None:
    one, two = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    assert distance(two, one, one) == pytest.approx(0.1)
    assert distance(two, one, 1e-6 * one) == pytest.approx(0.1 / 1e-3)
    assert distance(one, one, torch.zeros(2)) == 0
    assert distance(one, two[:1], one) == float("inf")
    assert not distance(torch.full((2,), float("nan")), one, one) <= TRANSFORMED
