"""How much each calibration token matters to the model's distribution, at the input of each linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whichbits.quantize.decoder import Call, fill, first_inputs, run
from whichbits.quantize.hessian import accumulate, mirror

if TYPE_CHECKING:
    import torch

LOGITS_AT_A_TIME = 128
"""Tokens whose logits are in memory at once."""

EVERY = 4
"""Of so many tokens one counts for the curvature between rows."""

LARGEST_CURVATURE = 8192
"""Rows up to which a module's curvature is measured, since it has as many columns."""


@dataclass(frozen=True)
class Sensitivity:
    """What the loss says of a layer, by linear layer (its name within): `weights` float32 [samples, length], mean 1, how much
    each calibration token matters; `curvature` float32 [rows, rows], how much errors of its outputs matter together.
    """

    weights: Mapping[str, torch.Tensor]
    curvature: Mapping[str, torch.Tensor]


def read(folder: Path, number: int) -> Sensitivity:
    """The sensitivity of layer `number`, from a folder that `measure` has made."""
    from safetensors.torch import load_file

    tensors = load_file(folder / f"{number}.safetensors")
    kinds = ("weights.", "curvature.")
    return Sensitivity(*({key.removeprefix(kind): x for key, x in tensors.items() if key.startswith(kind)} for kind in kinds))


def measure(
    decoder: Any,
    tensors: Mapping[str, torch.Tensor],
    linears: Sequence[Sequence[str]],
    tokens: torch.Tensor,
    seed: int,
    folder: Path,
) -> None:
    """Make `folder` with the sensitivity of each layer, where it is not there yet.

    The loss is -log p(y) for a next token y drawn from the model's own distribution p. The mean of its gradients' outer
    products is the curvature of KL(model || changed model), so an error that a layer makes on a token costs as much as the
    squared length of the gradient at its output says: the token's weight. Modules that read the same input share the mean of
    their weights. The curvature of a module is the sum of the gradients' outer products over some of the tokens; modules with
    very many rows have none. Modules that do not see every token (experts) have neither.

    `decoder` has empty layers, and `tensors` are the model's by full name; `linears` names linear layers within each layer;
    `tokens` are [samples, length]; `seed` draws the y. In memory are one layer and the hidden states of all samples; those
    between layers are on disk meanwhile.
    Sources: the Fisher information as KL's curvature (Martens, arXiv 1412.1193); gradients at a linear layer's output as
    weights of its Hessian (GuidedQuant, Kim et al., arXiv 2505.07004, with one group of channels); both sides of the Hessian
    from them (YAQA, Tseng et al., arXiv 2505.22988).
    """
    if folder.exists():
        return
    with TemporaryDirectory(dir=folder.parent) as aside:
        scratch, complete = Path(aside) / "hidden", Path(aside) / "complete"
        scratch.mkdir()
        complete.mkdir()
        _walk(decoder, tensors, linears, tokens, seed, scratch, complete)
        complete.rename(folder)


def _walk(
    decoder: Any,
    tensors: Mapping[str, torch.Tensor],
    linears: Sequence[Sequence[str]],
    tokens: torch.Tensor,
    seed: int,
    scratch: Path,
    out: Path,
) -> None:
    """Forward through the layers, and back again."""
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
    for number, layer in reversed(list(enumerate(decoder.layers))):
        fill(layer, _of_layer(tensors, number))
        layer.requires_grad_(False)
        path = scratch / f"{number}.safetensors"
        hidden = [each.unsqueeze(0) for each in load_file(path)["hidden"]]
        curvature: dict[str, torch.Tensor] = {}
        observed = [
            _back(layer, linears[number], *pair, calls[number], curvature) for pair in zip(hidden, gradients, strict=True)
        ]
        gradients = [gradient for gradient, _ in observed]
        weights = _normalised([squares for _, squares in observed])
        for each in curvature.values():
            mirror(each)
        found = {f"weights.{name}": x for name, x in weights.items()} | {
            f"curvature.{name}": x for name, x in curvature.items()
        }
        save_file(found, out / f"{number}.safetensors")
        layer.to("meta")
        path.unlink()


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
    layer: torch.nn.Module,
    linears: Sequence[str],
    hidden: torch.Tensor,
    gradient: torch.Tensor,
    call: Call,
    curvature: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    """Gradient at the layer's input, and the squared gradient of each token [length] at the outputs of modules.

    Modules that share an input list those of all of them. The lower triangle of each module's `curvature` is added to.
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
        output.register_hook(partial(keep, name))  # type: ignore[no-untyped-call]

    def keep(name: str, slope: torch.Tensor) -> None:
        squares[name].append(torch.linalg.vector_norm(slope[0], dim=-1, dtype=torch.float32).square())
        rows = slope.shape[-1]
        if rows <= LARGEST_CURVATURE:
            accumulate(curvature.setdefault(name, torch.zeros(rows, rows)), slope[0, ::EVERY])

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
