"""How much each calibration token matters to the model's distribution, at the input of each linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whichbits.quantize.decoder import Call, fill, first_inputs, run
from whichbits.quantize.tensors import StoredTensors

if TYPE_CHECKING:
    import torch

LOGITS_AT_A_TIME = 128
"""Tokens whose logits are in memory at once."""


def kept_token_weights(
    decoder: Any, base: Path, layers: Sequence[Sequence[str]], tokens: torch.Tensor, seed: int, folder: Path
) -> list[dict[str, torch.Tensor]]:
    """As `token_weights`, for the model in `base` and its `tokens` [samples, length]; computed once and kept in `folder`.

    `layers` are the names of the weights of linear layers, layer by layer.
    """
    from safetensors.torch import load_file, save_file

    path = folder / "sensitivity.safetensors"
    if not path.exists():
        tensors = StoredTensors(base)
        linears = [[name.split(".", 3)[3].removesuffix(".weight") for name in layer] for layer in layers]
        with TemporaryDirectory(dir=folder) as scratch:
            found = token_weights(decoder, tensors, linears, tokens, seed, Path(scratch))
        whole = {f"{number}.{name}": weight for number, each in enumerate(found) for name, weight in each.items()}
        save_file(whole, path.with_suffix(".aside"))
        path.with_suffix(".aside").rename(path)
    weights: list[dict[str, torch.Tensor]] = [{} for _ in layers]
    for name, weight in load_file(path).items():
        number, _, module = name.partition(".")
        weights[int(number)][module] = weight
    return weights


def token_weights(
    decoder: Any,
    tensors: Mapping[str, torch.Tensor],
    linears: Sequence[Sequence[str]],
    tokens: torch.Tensor,
    seed: int,
    scratch: Path,
) -> list[dict[str, torch.Tensor]]:
    """The weight of each token at each linear layer: the squared length of the loss's gradient at its output, over the mean.

    Returns float32 [samples, length] by the linear layer's name within its layer, layer by layer. The loss is -log p(y) for a
    next token y drawn from the model's own distribution p. The mean of its gradients' outer products is the curvature of
    KL(model || changed model), so an error that a layer makes on a token costs as much as its weight says. Modules that read
    the same input share the mean of their weights. Modules that do not see every token (experts) are left out.

    `decoder` has empty layers, and `tensors` are the model's by full name; `linears` names linear layers within each layer;
    `tokens` are [samples, length]; `seed` draws the y. In memory are one layer and the hidden states of all samples; those
    between layers are kept in the folder `scratch` meanwhile.
    Sources: the Fisher information as KL's curvature (Martens, arXiv 1412.1193); gradients at a linear layer's output as
    weights of its Hessian (GuidedQuant, Kim et al., arXiv 2505.07004, with one group of channels).
    """
    import torch
    from safetensors.torch import load_file, save_file

    head = tensors["lm_head.weight" if "lm_head.weight" in tensors else "model.embed_tokens.weight"]
    outside = {name: tensors[name] for name in tensors if name.startswith("model.") and not name.startswith("model.layers.")}
    hidden, calls = first_inputs(decoder, {name.removeprefix("model."): tensor for name, tensor in outside.items()}, tokens)
    for number, layer in enumerate(decoder.layers):
        save_file({"hidden": torch.cat(hidden)}, scratch / f"{number}.safetensors")
        fill(layer, _of_layer(tensors, number))
        hidden = run(layer, hidden, calls[number])
        layer.to("meta")
    generator = torch.Generator().manual_seed(seed)
    gradients = [_gradient_of_loss(each, decoder.norm, head, decoder.config, generator) for each in hidden]
    weights: list[dict[str, torch.Tensor]] = []
    for number, layer in reversed(list(enumerate(decoder.layers))):
        fill(layer, _of_layer(tensors, number))
        layer.requires_grad_(False)
        path = scratch / f"{number}.safetensors"
        hidden = [each.unsqueeze(0) for each in load_file(path)["hidden"]]
        observed = [_back(layer, linears[number], *pair, calls[number]) for pair in zip(hidden, gradients, strict=True)]
        gradients = [gradient for gradient, _ in observed]
        weights.insert(0, _normalised([squares for _, squares in observed]))
        layer.to("meta")
        path.unlink()
    return weights


def _of_layer(tensors: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    prefix = f"model.layers.{number}."
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}


def _gradient_of_loss(
    hidden: torch.Tensor, norm: torch.nn.Module, head: torch.Tensor, config: Any, generator: torch.Generator
) -> torch.Tensor:
    """Gradient of the loss at the last layer's output `hidden` [1, length, width], in its dtype."""
    import torch
    from torch.nn.functional import cross_entropy, linear

    cap = getattr(config, "final_logit_softcapping", None)
    leaf = hidden.detach().requires_grad_(True)
    states = norm(leaf)[0]
    inner = states.detach().requires_grad_(True)
    for part in torch.split(inner, LOGITS_AT_A_TIME):
        logits = linear(part, head).float() / getattr(config, "logits_scaling", 1.0)
        logits = logits if cap is None else cap * torch.tanh(logits / cap)
        with torch.no_grad():
            cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1)
            drawn = torch.rand(len(part), 1, generator=generator) * cumulative[:, -1:]
            label = torch.searchsorted(cumulative, drawn)[:, 0].clamp(max=logits.shape[1] - 1)
        torch.autograd.backward(cross_entropy(logits, label, reduction="sum"))
    torch.autograd.backward(states, inner.grad)
    assert leaf.grad is not None
    return leaf.grad


def _back(
    layer: torch.nn.Module, linears: Sequence[str], hidden: torch.Tensor, gradient: torch.Tensor, call: Call
) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    """Gradient at the layer's input, and the squared gradient of each token [length] at the outputs of modules.

    Modules that share an input list those of all of them.
    """
    import torch

    readers: list[tuple[torch.Tensor, str]] = []
    squares: dict[str, list[torch.Tensor]] = {}

    def note(name: str, module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        (x,) = args
        if x.shape[:-1] != hidden.shape[:-1]:
            return
        leader = next((leader for tensor, leader in readers if tensor is x), name)
        readers.append((x, name))
        squares[name] = squares.setdefault(leader, [])
        output.register_hook(partial(keep, squares[name]))  # type: ignore[no-untyped-call]

    def keep(into: list[torch.Tensor], slope: torch.Tensor) -> None:
        into.append(torch.linalg.vector_norm(slope[0], dim=-1, dtype=torch.float32).square())

    hooks = [layer.get_submodule(name).register_forward_hook(partial(note, name)) for name in linears]
    leaf = hidden.detach().requires_grad_(True)
    output = layer(leaf, *call.args, **call.kwargs)
    torch.autograd.backward(output[0] if isinstance(output, tuple) else output, gradient)
    for hook in hooks:
        hook.remove()
    assert leaf.grad is not None
    return leaf.grad, squares


def _normalised(samples: Sequence[Mapping[str, Sequence[torch.Tensor]]]) -> dict[str, torch.Tensor]:
    """Weights [samples, length] of mean 1 by module: the mean over the modules of one input, each brought to mean 1."""
    import torch

    weights = {}
    for name in samples[0]:
        squares = torch.stack([torch.stack(list(sample[name])) for sample in samples])  # [samples, modules, length]
        mean = squares.mean(dim=(0, 2), keepdim=True)
        shared = torch.where(mean > 0, squares / mean.clamp(min=torch.finfo(torch.float32).tiny), 1.0).mean(dim=1)
        weights[name] = shared.contiguous()
    return weights
