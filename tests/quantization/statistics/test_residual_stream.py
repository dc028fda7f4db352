from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from whichbits.quantization.model.decoder import Call, empty_model, first_inputs  # noqa: E402
from whichbits.quantization.model.replicas import filled  # noqa: E402
from whichbits.quantization.model.tensors import StoredTensors, layer_tensors, outside_layers  # noqa: E402
from whichbits.quantization.statistics.residual_stream import Adding, adding  # noqa: E402

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
TOKENS = torch.randint(5, 256, (2, 24), generator=torch.Generator().manual_seed(7))


CASES = [(family, expected, 1.0) for family, expected in EXPECTED.items()]
# Loud, what is normalised before it is added makes up nearly all of what a norm takes in.
CASES += [(family, {}, loud) for family in ("Gemma2", "Gemma3Text") for loud in (8.0, 30.0)]


@pytest.mark.parametrize(("family", "expected", "loud"), CASES)
def test_what_adds_to_the_stream_is_found(
    family: str, expected: dict[str, tuple[str | None, float]], loud: float, random_base: Callable[[str], Path]
) -> None:
    base = random_base(family)
    decoder, tensors = empty_model(base), StoredTensors(base)
    inputs, calls = first_inputs(decoder, outside_layers(tensors), TOKENS)
    own = layer_tensors(tensors, 0)
    louder = {name: loud * own[name] for name in own if name.endswith(("o_proj.weight", "down_proj.weight"))}
    replicas = filled(decoder.layers[0], own | louder, calls[0], ["cpu"])
    linears = [name for name, module in replicas[0].layer.named_modules() if isinstance(module, torch.nn.Linear)]
    found = adding(replicas[0], linears, inputs[0])
    assert found == {name: Adding(before, pytest.approx(gain, rel=0.01)) for name, (before, gain) in expected.items()}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in replicas[0].layer.modules())


class Wide(torch.nn.Module):
    """Norms that take in something as wide as the stream, as OLMoE's of queries do, before the stream changes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.q_norm, self.after = (torch.nn.RMSNorm(16) for _ in range(3))
        self.q, self.o, self.down = (torch.nn.Linear(16, 16, bias=False) for _ in range(3))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.o(self.q_norm(self.q(self.norm(hidden)).sin()))
        return hidden + self.down(self.after(hidden)).square()


@torch.no_grad()
def test_other_wide_norms_are_not_taken_for_the_stream() -> None:
    torch.manual_seed(0)
    block = Wide()
    replicas = filled(block, block.state_dict(), Call((), {}), ["cpu"])
    found = adding(replicas[0], ["q", "o", "down"], torch.randn(2, 24, 16))
    assert found == {"o": Adding(None, pytest.approx(1.0, rel=0.01))}
