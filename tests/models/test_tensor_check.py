"""Tensors whose names or shapes are not the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from tests.models.folders import DOWN, NORM, WEIGHTS, Make, change, configure, refusal  # noqa: E402
from whichbits.core.errors import UserError  # noqa: E402
from whichbits.models.resolve import resolve  # noqa: E402

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
