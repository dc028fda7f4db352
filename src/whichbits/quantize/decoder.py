"""A model's decoder layers one at a time: built empty from the configuration, filled, and run on recorded inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Call:
    """What a decoder layer is called with besides the hidden states (positions, mask), the same for every sample."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def empty_model(base: Path) -> Any:
    """The decoder of the model in `base`, built from config.json, its parameters without memory. Runs no foreign code."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base)
    # Buffers are real: rotary frequencies are computed from the configuration and are in no checkpoint.
    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=config.dtype)  # type: ignore[no-untyped-call]
    return model.eval().get_decoder()


def fill(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Make `tensors`, by their name within `module`, its parameters, without a copy.

    Raises UserError where names or shapes are not the module's.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"the checkpoint's tensors do not fit transformers' {type(module).__name__}: {error}",
            remedy="quantize this model by round-to-nearest, which needs no calibration",
        ) from error


def first_inputs(
    decoder: Any, tensors: Mapping[str, torch.Tensor], tokens: torch.Tensor
) -> tuple[list[torch.Tensor], list[Call]]:
    """What reaches the first layer for each sample of `tokens` [samples, length], and what each layer is called with.

    `tensors` are those outside the layers, by name within the decoder (embeddings, last norm). Returns hidden states
    [1, length, width] for each sample, and a call for each layer. Layers pass on what they get meanwhile, each noting its call.
    """
    import torch

    calls: dict[int, Call] = {}
    inputs: list[torch.Tensor] = []

    def note(number: int) -> Any:
        def forward(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            if number == 0:
                inputs.append(hidden_states)
            calls.setdefault(number, Call(args, kwargs))
            return hidden_states

        return forward

    layers = decoder.layers
    decoder.layers = torch.nn.ModuleList()  # so that `fill` can ask for every tensor that is left
    fill(decoder, tensors)
    decoder.layers = layers
    for number, layer in enumerate(layers):
        layer.forward = note(number)
    with torch.no_grad():
        for sample in tokens:
            decoder(input_ids=sample.unsqueeze(0), use_cache=False)
    for layer in layers:
        del layer.forward
    return inputs, [calls[number] for number in range(len(layers))]


def run(layer: torch.nn.Module, inputs: Iterable[torch.Tensor], call: Call) -> list[torch.Tensor]:
    """The outputs of a filled layer for each of `inputs` [1, length, width]."""
    import torch

    with torch.no_grad():
        return [layer(hidden, *call.args, **call.kwargs) for hidden in inputs]
