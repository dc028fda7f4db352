"""Logits of the emulation: layers in the model's dtype, the last norm and the head in float32, by the model's own code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.engines.emulation.float32_head import float32_head  # noqa: E402
from whichbits.engines.errors import EngineError  # noqa: E402

SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 64, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {}, "Qwen2": {}, "Qwen3": {}, "Mistral": {}, "Gemma": {"head_dim": 16},
    "Gemma2": {"head_dim": 16, "final_logit_softcapping": 2.0}, "Gemma3Text": {"head_dim": 16}, "Phi3": {},
    "Granite": {"logits_scaling": 4.0}, "Olmo2": {}, "Cohere": {"logit_scale": 0.25}, "StableLm": {}, "Nemotron": {}, "Phi": {},
    "Mixtral": {"num_local_experts": 4}, "GPTNeoX": {}, "SmolLM3": {},
    "GPT2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "OPT": {"ffn_dim": 128, "word_embed_proj_dim": 64},
}  # fmt: skip
IDS = torch.randint(3, 300, (2, 24), generator=torch.Generator().manual_seed(0))


def random_model(family: str) -> Any:
    torch.manual_seed(0)
    name = family.removesuffix("Text")
    model_class = getattr(transformers, name + "ForCausalLM", None) or getattr(transformers, name + "LMHeadModel")
    sizes = {"vocab_size": 300} if family == "GPT2" else SIZES
    model = model_class(getattr(transformers, family + "Config")(**sizes, **FAMILIES[family])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def decoder_of(model: Any) -> Any:
    found = model.get_decoder()
    return getattr(found, "decoder", found)


def norm_of(model: Any) -> Any:
    names = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
    return next(module for name in names if (module := getattr(decoder_of(model), name, None)) is not None)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_library_in_float32_on_hidden_states_in_bf16(family: str) -> None:
    """What reaches the last norm in BF16 is given to the norm, the head and the cap of the whole model in float32."""
    wide = random_model(family).to(torch.bfloat16).float()
    model = random_model(family).to(torch.bfloat16)
    seen: list[torch.Tensor] = []
    handle = norm_of(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rounded = model(input_ids=IDS, use_cache=False).logits
    handle.remove()
    norm_of(wide).register_forward_pre_hook(lambda _, inputs: (seen[0].float(),))
    expected = wide(input_ids=IDS, use_cache=False).logits
    with float32_head(model):
        found = model(input_ids=IDS, use_cache=False).logits
    assert (found.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    error = (found - expected).norm() / expected.norm()
    assert error < 1e-5 < 1e-3 < (rounded.float() - expected).norm() / expected.norm()
    assert torch.equal(model(input_ids=IDS, use_cache=False).logits, rounded), "the model is left as it was"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_the_model_is_left_as_it_was_by_a_pass_that_fails() -> None:
    model = random_model("Llama").to(torch.bfloat16)
    with pytest.raises(KeyError), float32_head(model):
        raise KeyError
    assert model.model.norm.weight.dtype == torch.bfloat16
    assert "forward" not in vars(model.lm_head) and not model.model.norm._forward_pre_hooks


def test_a_quantized_head_is_refused() -> None:
    model = random_model("Llama")
    model.lm_head.quantization_scheme = SimpleNamespace()
    with pytest.raises(EngineError, match="not an unquantized linear"), float32_head(model):
        pass


@torch.no_grad()
def test_scores_that_are_capped_are_capped_in_the_emulation(tmp_path: Path, embedded_model: Path) -> None:
    """transformers' attention by torch's kernel leaves Gemma 2's cap out; the emulation asks for the plain one."""
    from whichbits.engines.emulation.model import Emulated

    torch.manual_seed(0)
    config = transformers.Gemma2Config(**SIZES | {"vocab_size": 49152}, head_dim=16, attn_logit_softcapping=0.2)
    transformers.Gemma2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(embedded_model).save_pretrained(tmp_path)
    expected, uncapped = (
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="float32", attn_implementation=kind)(IDS).logits
        for kind in ("eager", "sdpa")
    )
    found = Emulated(tmp_path, threads=1, dtype=torch.float32).logits(IDS)
    size = expected.norm()
    assert (found - expected).norm() / size < 1e-5 < 1e-3 < (uncapped - expected).norm() / size
    # The road of a study's distributions: rounded to BF16 the last 16 bits of a logit would be zero.
    logits = Emulated(tmp_path, threads=1).logits(IDS[0])
    assert logits.dtype == torch.float32
    assert ((logits.view(torch.int32) & 0xFFFF) != 0).float().mean() > 0.9
