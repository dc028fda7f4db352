from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.models.configuration import Configuration
from whichbits.quantization.model.structure import ignored, layer_linears

PLAIN = Configuration(
    model_type="llama", architecture=None, dtype="bfloat16", max_positions=64, layers=11, hidden=8, heads=1, kv_heads=1,
    head_dim=8, vocabulary=100, tied=False,
)  # fmt: skip

SHAPES = {
    "model.embed_tokens.weight": (100, 8),
    "model.layers.0.input_layernorm.weight": (8,),
    "model.layers.0.mlp.up.weight": (16, 8),
    "model.layers.0.self_attn.q.bias": (8,),
    "model.layers.0.self_attn.q.weight": (8, 8),
    "model.layers.10.mlp.up.weight": (16, 8),
    "model.layers.2.mlp.up.weight": (16, 8),
    "model.projector.weight": (8, 4),
    "lm_head.weight": (100, 8),
}


def test_linears_are_the_matrices_of_the_layers_in_the_order_of_the_layers() -> None:
    assert layer_linears(PLAIN, SHAPES) == [
        ["model.layers.0.mlp.up.weight", "model.layers.0.self_attn.q.weight"],
        ["model.layers.2.mlp.up.weight"],
        ["model.layers.10.mlp.up.weight"],
    ]


def test_layers_that_predict_further_tokens_stay_in_16_bit() -> None:
    two = replace(PLAIN, layers=10, prediction_layers=1)
    names = [name for layer in layer_linears(two, SHAPES) for name in layer]
    assert not any(name.startswith("model.layers.10.") for name in names)
    assert "model.layers.10.mlp.up" in ignored(two, SHAPES, names)


def test_ignored_are_lm_head_and_matrices_elsewhere() -> None:
    linears = [name for layer in layer_linears(PLAIN, SHAPES) for name in layer]
    assert ignored(PLAIN, SHAPES, linears) == ["lm_head", "model.projector"]


def test_a_mixture_has_its_experts_quantized_and_its_routers_left() -> None:
    """The names of Mixtral, and of Qwen2-MoE with a shared expert and its gate."""
    mixtral = {f"model.layers.0.moe.experts.{expert}.w{n}.weight": (16, 8) for expert in range(4) for n in (1, 2, 3)}
    gate = {"model.layers.0.moe.gate.weight": (4, 8), "model.layers.0.self_attn.k_proj.weight": (4, 8)}
    shared = {"model.layers.0.moe.shared_expert.up.weight": (4, 8), "model.layers.0.moe.shared_expert_gate.weight": (1, 8)}
    shapes = mixtral | gate | shared
    ((*names,),) = layer_linears(replace(PLAIN, experts=4), shapes)
    left = {"model.layers.0.moe.gate.weight", "model.layers.0.moe.shared_expert_gate.weight"}
    assert set(names) == set(shapes) - left
    assert ignored(PLAIN, shapes, names) == ["lm_head", *sorted(name.removesuffix(".weight") for name in left)]


@pytest.mark.parametrize(
    ("fields", "shapes", "message"),
    [
        ({"quantization": {"quant_method": "gptq"}}, SHAPES, "quantized already"),
        ({"experts": 8}, SHAPES, "mixture of experts, and no tensor is named"),
        ({}, {"model.layers.0.mlp.experts.up": (4, 16, 8)}, "experts.up of shape 4 x 16 x 8 is not the weight of a linear"),
        ({}, {"model.layers.0.mamba.A_log": (16, 8)}, "A_log of shape 16 x 8 is not the weight of a linear"),
        ({"experts": 0}, {"transformer.h.0.weight": (8, 8)}, r"no linear layers under model\.layers\.N .*transformer"),
    ],
)
def test_what_is_not_understood_is_named(fields: dict[str, Any], shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        layer_linears(replace(PLAIN, **fields), shapes)
