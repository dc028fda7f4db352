from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from whichbits.quantize.decoder import empty_model, first_inputs  # noqa: E402
from whichbits.quantize.replicas import filled  # noqa: E402
from whichbits.quantize.residual import Adding, adding  # noqa: E402
from whichbits.quantize.tensors import StoredTensors, of_layer, outside_layers  # noqa: E402

BOTH = {"self_attn.o_proj": (None, 1.0), "mlp.down_proj": ("post_attention_layernorm", 1.0)}
EXPECTED = {
    "Llama": BOTH,
    "Qwen2": BOTH,
    "Qwen3": BOTH,
    "Mistral": BOTH,
    "Gemma": BOTH,
    "Gemma2": {},
    "Gemma3Text": {},
    "Phi3": BOTH,
    "Granite": {"self_attn.o_proj": (None, 0.5), "mlp.down_proj": ("post_attention_layernorm", 0.5)},
    "Mixtral": {"self_attn.o_proj": (None, 1.0)},
    "Qwen3Moe": {"self_attn.o_proj": (None, 1.0)},
    "Qwen2Moe": {"self_attn.o_proj": (None, 1.0)},
}
TOKENS = torch.randint(100, 49000, (2, 24), generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(("family", "expected"), EXPECTED.items())
def test_what_adds_to_the_stream_is_found(
    family: str, expected: dict[str, tuple[str | None, float]], random_base: Callable[[str], Path]
) -> None:
    base = random_base(family)
    decoder, tensors = empty_model(base), StoredTensors(base)
    inputs, calls = first_inputs(decoder, outside_layers(tensors), TOKENS)
    replicas = filled(decoder.layers[0], of_layer(tensors, 0), calls[0], ["cpu"])
    linears = [name for name, module in replicas[0].layer.named_modules() if isinstance(module, torch.nn.Linear)]
    found = adding(replicas[0], linears, inputs[0])
    assert found == {name: Adding(before, pytest.approx(gain, rel=0.01)) for name, (before, gain) in expected.items()}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in replicas[0].layer.modules())
