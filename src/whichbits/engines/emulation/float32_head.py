"""The last norm and the output head of a model in float32, its layers in the dtype they run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whichbits.engines.errors import EngineError

NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
"""Names that decoders give the norm behind their last layer."""

ROWS = 16384
"""Rows of the head that are taken to float32 at once, which bounds the memory beside the logits."""


@contextmanager
def float32_head(model: Any) -> Iterator[None]:
    """Have a causal model of transformers compute its last norm and its head in float32, from their weights as they are.

    Logits rounded to BF16 differ from themselves by a KL of the order of what 8-bit weights cause. What the model does with
    them afterwards (a cap, a factor) is its own code, then on float32. Raises EngineError where the head is quantized, or the
    norm is not found.
    """
    head: Any = model.get_output_embeddings()
    linear = isinstance(head, nn.Linear)
    if not linear or getattr(head, "quantization_scheme", None) is not None:
        raise EngineError(f"the output head of the model is {type(head).__name__}, not an unquantized linear layer")
    decoder = model.get_decoder()
    decoder = getattr(decoder, "decoder", decoder)  # OPT's is within its model
    norm = next((found for name in NORMS if isinstance(found := getattr(decoder, name, None), nn.Module)), None)
    if norm is None:
        raise EngineError(f"the norm before the output head of {type(model).__name__} is called none of {', '.join(NORMS)}")
    stored = {parameter: parameter.data for parameter in norm.parameters()}
    upcast = norm.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
    try:
        for parameter, data in stored.items():
            parameter.data = data.float()
        head.forward = lambda states: product(states, head.weight, head.bias)
        yield
    finally:
        del head.forward
        upcast.remove()
        for parameter, data in stored.items():
            parameter.data = data


def product(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Logits, float32 [..., vocabulary], of `states` [..., width]; the weight [vocabulary, width] is taken in parts."""
    exact = states.float()
    parts = [functional.linear(exact, part.float()) for part in torch.split(weight, ROWS)]
    logits = torch.cat(parts, dim=-1)
    return logits if bias is None else logits + bias.float()
