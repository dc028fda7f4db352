"""The calibrated pass backwards: what linear layers are fed, tokens counted by how much the model's loss feels their error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whichbits.quantize.decoder import LOGITS_AT_A_TIME, Call, empty, fill, first_inputs, logits_of, run, softcap_and_scaling
from whichbits.quantize.hessian import accumulate, mirror
from whichbits.quantize.observe import InputStatistics, no_statistics, norms
from whichbits.quantize.tensors import head_of, of_layer, outside_layers

if TYPE_CHECKING:
    import torch

EVERY = 8
"""Of so many tokens one counts for the curvature between rows."""

LARGEST_CURVATURE = 8192
"""Rows up to which a module's curvature is measured, since it has as many columns."""


@dataclass(frozen=True)
class ObservedLayer:
    """A filled `layer` on the way back: its `number`, the hidden states [samples, length, width] that reach it, how it is
    called, and the statistics of the inputs of its linear layers.
    """

    number: int
    layer: torch.nn.Module
    inputs: list[torch.Tensor]
    call: Call
    statistics: list[InputStatistics]


def observe_backwards(
    decoder: Any,
    tensors: Mapping[str, torch.Tensor],
    linears: Sequence[Sequence[str]],
    tokens: torch.Tensor,
    draws: int,
    seed: int,
    folder: Path,
) -> Iterator[ObservedLayer]:
    """Run the model forward and back, and note on the way back, from the last layer to the first, what its linears are fed.

    The loss is -log p(y) for a next token y drawn from the model's own distribution p. The mean of its gradients' outer
    products is the curvature of KL(model || changed model), so an error that a layer makes on a token costs as much as the
    squared length of the gradient at its output says: the token's weight, summed over the modules that read one input. The
    curvature of a module is the sum of its gradients' outer products over some of the tokens; modules with very many rows have
    none. Modules that do not see every token (experts) have none either, and count their tokens alike.

    `decoder` has empty layers, and `tensors` are the model's by full name; `linears` names linear layers within each layer;
    `tokens` are [samples, length]; at each of them `draws` next tokens y are drawn, by the `seed`. In memory are one layer, the
    hidden states of all samples, and as many gradients for each draw; hidden states between layers are in `folder` meanwhile.
    Sources: the Fisher information as KL's curvature (Martens, arXiv 1412.1193); gradients at a linear layer's output as
    weights of its Hessian (GuidedQuant, Kim et al., arXiv 2505.07004, with one group of channels); both sides of the Hessian
    from them (YAQA, Tseng et al., arXiv 2505.22988).
    """
    import torch
    from safetensors.torch import load_file, save_file

    hidden, calls = first_inputs(decoder, outside_layers(tensors), tokens)
    device, together = hidden[0].device, len(hidden[0])
    with TemporaryDirectory(dir=folder) as scratch:
        for number, layer in enumerate(decoder.layers):
            save_file({"hidden": torch.cat(hidden).cpu()}, Path(scratch) / f"{number}.safetensors")
            fill(layer, of_layer(tensors, number))
            hidden = run(layer, hidden, calls[number])
            empty(layer)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(len(tokens), draws, tokens.shape[1], generator=generator).to(device)
        head = head_of(tensors)
        gradients = [
            gradients_of_loss(states, decoder.norm, head, decoder.config, each.transpose(0, 1))
            for states, each in zip(hidden, torch.split(drawn, together), strict=True)
        ]
        for number, layer in reversed(list(enumerate(decoder.layers))):
            fill(layer, of_layer(tensors, number))
            layer.requires_grad_(False)
            kept = load_file(Path(scratch) / f"{number}.safetensors")["hidden"].to(device)
            hidden = list(torch.split(kept, together))
            noted = _Notes(layer, linears[number])
            gradients = [noted.back(*pair, calls[number]) for pair in zip(hidden, gradients, strict=True)]
            yield ObservedLayer(number, layer, hidden, calls[number], noted.complete())
            del noted, hidden, kept
            empty(layer)


def gradients_of_loss(
    hidden: torch.Tensor, norm: torch.nn.Module, head: torch.Tensor, config: Any, drawn: torch.Tensor
) -> list[torch.Tensor]:
    """Gradients of the losses at the last layer's output `hidden` [samples, length, width], in its dtype, one for each draw.

    `drawn` [draws, samples, length] are numbers from 0 to 1: y is where the cumulated p goes beyond. At the logits a gradient
    is p less 1 at y, so all draws of a token share what p makes. `config` says whether logits are scaled or capped.
    """
    import torch

    cap, scaling = softcap_and_scaling(config)
    leaf = hidden.detach().requires_grad_(True)
    with torch.enable_grad():
        states = norm(leaf)
    slopes = []
    flat, numbers = states.detach().flatten(0, 1), drawn.flatten(1).T.contiguous()
    for part, number in zip(torch.split(flat, LOGITS_AT_A_TIME), torch.split(numbers, LOGITS_AT_A_TIME), strict=True):
        logits = logits_of(part, head, config)
        p = torch.softmax(logits, dim=-1)
        cumulative = p.cumsum(dim=-1)
        label = torch.searchsorted(cumulative, number * cumulative[:, -1:]).clamp(max=p.shape[1] - 1)
        at_label = head[label.T]
        if cap is not None:
            inner = 1 - (logits / cap).square()
            p, at_label = p * inner, at_label * inner.gather(1, label).T.unsqueeze(2)
        slopes.append(((p.to(head.dtype) @ head) - at_label) / scaling)
    return [
        torch.autograd.grad(states, leaf, slope.to(states.dtype).reshape(states.shape), retain_graph=True)[0]
        for slope in torch.cat(slopes, dim=1)
    ]


class _Notes:
    """What the linears of a layer are fed, sample by sample; complete at the end."""

    def __init__(self, layer: torch.nn.Module, linears: Sequence[str]) -> None:
        self._layer = layer
        self._linears = linears
        self._found: dict[str, InputStatistics] = {}
        self._curvature: dict[str, torch.Tensor] = {}

    def back(self, hidden: torch.Tensor, gradients: Sequence[torch.Tensor], call: Call) -> list[torch.Tensor]:
        """Take in some samples' `hidden` states, given gradients at the layer's output; returns those at its input."""
        import torch

        inputs: dict[str, torch.Tensor] = {}
        readers: dict[str, list[str]] = {}
        from_norms: list[tuple[torch.Tensor, str]] = []
        weights: dict[str, torch.Tensor] = {}

        def note_norm(name: str, module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
            from_norms.append((output, name))

        def note(name: str, module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            (x,) = args
            leader = next((leader for leader, tensor in inputs.items() if tensor is x), name)
            inputs[leader] = x
            readers.setdefault(leader, []).append(name)
            if leader == name and name not in self._found:
                norm = next((norm for tensor, norm in from_norms if tensor is x), None)
                self._found[name] = no_statistics(x, norm)
            if x.shape[:-1] == hidden.shape[:-1]:
                output.register_hook(partial(weigh, name, leader))  # type: ignore[no-untyped-call]

        def weigh(name: str, leader: str, slope: torch.Tensor) -> None:
            squares = torch.linalg.vector_norm(slope, dim=-1, dtype=torch.float32).square().flatten()
            weights[leader] = weights[leader] + squares if leader in weights else squares
            rows = slope.shape[-1]
            if rows <= LARGEST_CURVATURE and name not in self._curvature:
                self._curvature[name] = torch.zeros(rows, rows, device=slope.device)
            if name in self._curvature:
                accumulate(self._curvature[name], slope[:, ::EVERY])

        hooks = [self._layer.get_submodule(name).register_forward_hook(partial(note, name)) for name in self._linears]
        hooks += [norm.register_forward_hook(partial(note_norm, name)) for name, norm in norms(self._layer)]
        leaf = hidden.detach().requires_grad_(True)
        with torch.enable_grad():
            output = self._layer(leaf, *call.args, **call.kwargs)
        output = output[0] if isinstance(output, tuple) else output
        last = len(gradients) - 1
        before = [
            torch.autograd.grad(output, leaf, gradient, retain_graph=number < last)[0]
            for number, gradient in enumerate(gradients)
        ]
        for hook in hooks:
            hook.remove()
        for leader, x in inputs.items():
            found = self._found[leader]
            found.modules = sorted({*found.modules, *readers[leader]}, key=list(self._linears).index)
            found.add(x.detach(), None, weights.get(leader))
        return before

    def complete(self) -> list[InputStatistics]:
        """The statistics of all inputs, with the curvature at the outputs of the modules that read them."""
        for curvature in self._curvature.values():
            mirror(curvature)
        for found in self._found.values():
            found.complete()
            found.curvature = {name: self._curvature[name] for name in found.modules if name in self._curvature}
        return list(self._found.values())
