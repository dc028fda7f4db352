from __future__ import annotations

from typing import Any

import pytest

from whichbits.errors import UserError
from whichbits.quantize.structure import ignored, layer_linears

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
    assert layer_linears({}, SHAPES) == [
        ["model.layers.0.mlp.up.weight", "model.layers.0.self_attn.q.weight"],
        ["model.layers.2.mlp.up.weight"],
        ["model.layers.10.mlp.up.weight"],
    ]


def test_ignored_are_lm_head_and_matrices_elsewhere() -> None:
    linears = [name for layer in layer_linears({}, SHAPES) for name in layer]
    assert ignored({"vocab_size": 100}, SHAPES, linears) == ["lm_head", "model.projector"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantization_config": {}}, "quantized already"),
        ({"num_local_experts": 8}, "mixture of experts"),
        ({"n_routed_experts": 64}, "mixture of experts"),
    ],
)
def test_what_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        layer_linears(config, SHAPES)


def test_an_unknown_structure_is_refused() -> None:
    with pytest.raises(UserError, match=r"no linear layers under model\.layers\.N"):
        layer_linears({"num_experts": None}, {"transformer.h.0.weight": (8, 8)})
