"""Log-probabilities of the base, computed with one layer in memory at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.quantization.model.decoder import LOGITS_AT_A_TIME, empty, empty_model, final_norm, first_inputs, logits_of
from whichbits.quantization.model.finite import check_states
from whichbits.quantization.model.replicas import filled, run
from whichbits.quantization.model.tensors import (
    StoredTensors,
    TensorsOnDevice,
    head_bias_of,
    head_of,
    layer_tensors,
    outside_layers,
)

if TYPE_CHECKING:
    import torch


def negative_log_likelihood(
    base: Path, tokens: torch.Tensor, *, device: str = "cpu", trust_remote_code: bool = False
) -> torch.Tensor:
    """Nats of each token of `tokens` [samples, length] but the first, float32 [samples, length - 1], on the CPU.

    Computed on `device`, by the model in the folder `base`, whose own Python code runs only where `trust_remote_code` says so.
    Raises UserError where transformers does not know the model.
    """
    import torch

    tensors = TensorsOnDevice(StoredTensors(base), device)
    decoder = empty_model(base, trust_remote_code=trust_remote_code, device=device)
    hidden, calls = first_inputs(decoder, outside_layers(tensors), tokens)
    for number, layer in enumerate(decoder.layers):
        hidden = run(filled(layer, layer_tensors(tensors, number), calls[number], [device]), hidden)
        check_states(hidden, f"the hidden states behind layer {number}")
        empty(layer)
    head, bias, norm = head_of(tensors), head_bias_of(tensors), final_norm(decoder)
    with torch.no_grad():
        states = torch.cat([norm(each)[:, :-1] for each in hidden]).flatten(0, 1)
        following = tokens[:, 1:].flatten().to(device)
        parts = zip(torch.split(states, LOGITS_AT_A_TIME), torch.split(following, LOGITS_AT_A_TIME), strict=True)
        nats = [
            torch.nn.functional.cross_entropy(logits_of(part, head, decoder.config, bias), target, reduction="none")
            for part, target in parts
        ]
    return torch.cat(nats).reshape(len(tokens), -1).cpu()
