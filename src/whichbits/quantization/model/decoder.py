"""A model's decoder layers one at a time: built empty from the configuration, filled, and run on recorded inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import layer_prefix
from whichbits.models.configuration import library_configuration
from whichbits.quantization.model.attention import use_blocks
from whichbits.quantization.model.memory import trim_heap
from whichbits.quantization.model.structure import tensor_shapes

if TYPE_CHECKING:
    import torch


TOKENS_AT_A_TIME = 2048
"""Tokens of samples that are run side by side: enough for the products to run at full speed, whatever the samples' length."""

LOGITS_AT_A_TIME = 128
"""Tokens whose logits are in memory at once."""

FINAL_NORMS = ("norm", "final_layernorm")
"""Names of the norm behind the last layer."""

NEAREST = "give --recipe nearest, with a format other than *-static and nvfp4: rounding to nearest asks nothing of the model"
"""What helps where the calibrated pass does not understand a model."""


@dataclass(frozen=True)
class Call:
    """What a decoder layer is called with besides the hidden states (positions, mask), the same for every sample.

    Recorded for one; its leading dimensions of 1 serve several side by side.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def empty_model(base: Path, *, trust_remote_code: bool = False, device: str = "cpu", dtype: torch.dtype | None = None) -> Any:
    """The decoder of the model in `base`, built from config.json, its parameters without memory, its buffers on `device`.

    Experts are linear layers of their own, named as in the checkpoint. A model's own Python code runs only where
    `trust_remote_code` says so (see `library_configuration`). `dtype` is the configuration's unless given. Raises UserError
    where transformers does not know the model, or its experts are not understood.
    """
    from whichbits.formats.checkpoint.experts import separate_experts

    decoder = empty_library_model(base, trust_remote_code=trust_remote_code, device=device, dtype=dtype).get_decoder()
    use_blocks(decoder)
    names = tensor_shapes(base)
    for number, layer in enumerate(decoder.layers):
        prefix = layer_prefix(number)
        separate_experts(layer, [name.removeprefix(prefix) for name in names if name.startswith(prefix)])
    return decoder


def empty_library_model(
    base: Path, *, trust_remote_code: bool = False, device: str = "cpu", dtype: torch.dtype | None = None
) -> Any:
    """The language model in `base` as the library builds it, its parameters without memory, its buffers on `device`.

    Arguments and errors as those of `empty_model`.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    try:
        config = library_configuration(base, trust_remote_code=trust_remote_code)
        dtype = dtype or config.dtype
        config = config.get_text_config()
        # Buffers are real: rotary frequencies are computed from the configuration and are in no checkpoint.
        with init_empty_weights(include_buffers=False):
            model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=dtype, trust_remote_code=trust_remote_code
            )
    except ValueError as error:
        raise UserError(
            f"transformers cannot build the model of {base}: {' '.join(str(error).split())[:300]}",
            remedy=f"{NEAREST}; or allow the model's own code, if it has any, by --trust-remote-code",
        ) from error
    for module in model.eval().modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            module._buffers[name] = buffer.to(device)
    return model


def fill(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Make `tensors`, by their name within `module`, its parameters, without a copy.

    Raises UserError where names or shapes are not the module's.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"the checkpoint's tensors do not fit transformers' {type(module).__name__}: {' '.join(str(error).split())}",
            remedy=NEAREST,
        ) from error


def empty(module: torch.nn.Module) -> None:
    """Give back the memory of a filled module's parameters, and what was freed while it was worked with."""
    module.load_state_dict({name: tensor.to("meta") for name, tensor in module.state_dict().items()}, assign=True)
    trim_heap()


def first_inputs(
    decoder: Any, tensors: Mapping[str, torch.Tensor], tokens: torch.Tensor
) -> tuple[list[torch.Tensor], list[Call]]:
    """What reaches the first layer for `tokens` [samples, length], and what each layer is called with.

    `tensors` are those outside the layers, by name within the decoder (embeddings, last norm), on the device where all is to
    happen. Returns hidden states [samples, length, width] in batches of `samples_at_a_time`, and a call for each
    layer, of one sample, which serves any number of them. Layers pass on what they get meanwhile, each noting its call; what
    comes behind the last is not run.
    """
    import torch

    calls: dict[int, Call] = {}
    inputs: list[torch.Tensor] = []
    device = next(iter(tensors.values())).device
    layers = decoder.layers

    def note(number: int) -> Any:
        def forward(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
            if number == 0:
                inputs.append(hidden_states)
            calls.setdefault(number, Call(args, kwargs))
            if number == len(layers) - 1:
                raise _LastLayerReached
            # A tuple serves models that take the first of a layer's outputs, and is passed on by those that take it whole.
            return (hidden_states,)

        return forward

    decoder.layers = torch.nn.ModuleList()  # so that `fill` can ask for every tensor that is left
    known = decoder.state_dict()  # what else is there (a block that predicts several tokens) the library leaves out as well
    fill(decoder, {name: tensor for name, tensor in tensors.items() if name in known})
    decoder.layers = layers
    for number, layer in enumerate(layers):
        layer.forward = note(number)
    with torch.no_grad():
        for sample in tokens.to(device):
            with suppress(_LastLayerReached):
                decoder(input_ids=sample.unsqueeze(0), use_cache=False)
    for layer in layers:
        del layer.forward
    together = samples_at_a_time(tokens.shape[1])
    return list(torch.split(torch.cat(inputs), together)), [calls[number] for number in range(len(layers))]


def samples_at_a_time(length: int) -> int:
    """How many samples of so many tokens are a batch."""
    return max(1, TOKENS_AT_A_TIME // length)


def batches(samples: int, length: int) -> int:
    """How many batches so many samples of so many tokens are."""
    return -(-samples // samples_at_a_time(length))


def norms(layer: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Modules with a weight vector, by name."""
    import torch

    for name, module in layer.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() == 1:
            yield name, module


@contextmanager
def hooked(hooks: Iterable[tuple[Any, Any]]) -> Iterator[None]:
    """Hooks in place for a while: pairs of what registers one, and the hook."""
    handles = [register(hook) for register, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def final_norm(decoder: Any) -> Any:
    """The norm behind the last layer. Raises UserError where none is found under a name that decoders give it."""
    found = next((module for name in FINAL_NORMS if (module := getattr(decoder, name, None)) is not None), None)
    if found is None:
        raise UserError(
            f"the structure of {type(decoder).__name__} is not understood: no norm behind its layers is called "
            f"{' or '.join(FINAL_NORMS)}",
            remedy=NEAREST,
        )
    return found


def logits_of(states: torch.Tensor, head: torch.Tensor, config: Any, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Logits, float32 [tokens, vocabulary], of what the last norm gives, `states` [tokens, width], scaled and capped."""
    import torch

    cap, scaling = softcap_and_scaling(config)
    logits = torch.nn.functional.linear(states, head, bias).float()
    if scaling != 1:
        logits /= scaling
    return logits if cap is None else cap * torch.tanh(logits / cap)


def softcap_and_scaling(config: Any) -> tuple[float | None, float]:
    """What a configuration says of logits: below which magnitude they are softly held (Gemma 2), and their divisor.

    Granite states the divisor, Cohere a factor.
    """
    factor = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None) or 1.0
    return getattr(config, "final_logit_softcapping", None), divisor / (1.0 if factor is None else factor)


class _LastLayerReached(Exception):
    pass
