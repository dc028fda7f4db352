"""The calibrated pass backwards: what linear layers are fed, tokens counted by how much the model's loss feels their error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whichbits.quantize.decoder import Call, fill, first_inputs, run
from whichbits.quantize.hessian import accumulate, mirror
from whichbits.quantize.observe import InputStatistics, norms

if TYPE_CHECKING:
    import torch

LOGITS_AT_A_TIME = 128
"""Tokens whose logits are in memory at once."""

EVERY = 4
"""Of so many tokens one counts for the curvature between rows."""

LARGEST_CURVATURE = 8192
"""Rows up to which a module's curvature is measured, since it has as many columns."""


@dataclass(frozen=True)
class ObservedLayer:
    """A filled `layer` on the way back: its `number`, the hidden states [1, length, width] that reach it, how it is called, and
    the statistics of the inputs of its linear layers.
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

    head = tensors["lm_head.weight" if "lm_head.weight" in tensors else "model.embed_tokens.weight"]
    outside = {name: tensors[name] for name in tensors if name.startswith("model.") and not name.startswith("model.layers.")}
    hidden, calls = first_inputs(decoder, {name.removeprefix("model."): tensor for name, tensor in outside.items()}, tokens)
    with TemporaryDirectory(dir=folder) as scratch:
        for number, layer in enumerate(decoder.layers):
            save_file({"hidden": torch.cat(hidden)}, Path(scratch) / f"{number}.safetensors")
            fill(layer, _of_layer(tensors, number))
            hidden = run(layer, hidden, calls[number])
            layer.to("meta")
        generator = torch.Generator().manual_seed(seed)
        gradients = [
            [gradient_of_loss(each, decoder.norm, head, decoder.config, generator) for _ in range(draws)] for each in hidden
        ]
        for number, layer in reversed(list(enumerate(decoder.layers))):
            fill(layer, _of_layer(tensors, number))
            layer.requires_grad_(False)
            hidden = [each.unsqueeze(0) for each in load_file(Path(scratch) / f"{number}.safetensors")["hidden"]]
            noted = _Notes(layer, linears[number])
            gradients = [noted.back(*pair, calls[number]) for pair in zip(hidden, gradients, strict=True)]
            yield ObservedLayer(number, layer, hidden, calls[number], noted.complete())
            layer.to("meta")


def _of_layer(tensors: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    prefix = f"model.layers.{number}."
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}


def gradient_of_loss(
    hidden: torch.Tensor, norm: torch.nn.Module, head: torch.Tensor, config: Any, generator: torch.Generator
) -> torch.Tensor:
    """Gradient of the loss at the last layer's output `hidden` [1, length, width], in its dtype.

    At the logits it is p less 1 at y; `config` says whether they are scaled or capped.
    """
    import torch

    cap = getattr(config, "final_logit_softcapping", None)
    scaling = getattr(config, "logits_scaling", 1.0)
    leaf = hidden.detach().requires_grad_(True)
    with torch.enable_grad():
        states = norm(leaf)
    slopes = []
    for part in torch.split(states.detach()[0], LOGITS_AT_A_TIME):
        logits = torch.nn.functional.linear(part, head).float() / scaling
        logits = logits if cap is None else cap * torch.tanh(logits / cap)
        slope = torch.softmax(logits, dim=-1)
        cumulative = slope.cumsum(dim=-1)
        drawn = torch.rand(len(part), 1, generator=generator) * cumulative[:, -1:]
        label = torch.searchsorted(cumulative, drawn).clamp(max=logits.shape[1] - 1)
        slope.scatter_add_(1, label, slope.new_full(label.shape, -1.0))
        slope = slope if cap is None else slope * (1 - (logits / cap).square())
        slopes.append((slope / scaling).to(head.dtype) @ head)
    (gradient,) = torch.autograd.grad(states, leaf, torch.cat(slopes).unsqueeze(0))
    return gradient


class _Notes:
    """What the linears of a layer are fed, sample by sample; complete at the end."""

    def __init__(self, layer: torch.nn.Module, linears: Sequence[str]) -> None:
        self._layer = layer
        self._linears = linears
        self._found: dict[str, InputStatistics] = {}
        self._curvature: dict[str, torch.Tensor] = {}

    def back(self, hidden: torch.Tensor, gradients: Sequence[torch.Tensor], call: Call) -> list[torch.Tensor]:
        """Take in a sample's `hidden` states, given gradients at the layer's output; returns those at its input."""
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
                columns = x.shape[-1]
                self._found[name] = InputStatistics(torch.zeros(columns, columns), torch.zeros(columns), [], norm)
            if x.shape[:-1] == hidden.shape[:-1]:
                output.register_hook(partial(weigh, name, leader))  # type: ignore[no-untyped-call]

        def weigh(name: str, leader: str, slope: torch.Tensor) -> None:
            squares = torch.linalg.vector_norm(slope[0], dim=-1, dtype=torch.float32).square()
            weights[leader] = weights[leader] + squares if leader in weights else squares
            rows = slope.shape[-1]
            if rows <= LARGEST_CURVATURE:
                accumulate(self._curvature.setdefault(name, torch.zeros(rows, rows)), slope[0, ::EVERY])

        hooks = [self._layer.get_submodule(name).register_forward_hook(partial(note, name)) for name in self._linears]
        hooks += [norm.register_forward_hook(partial(note_norm, name)) for name, norm in norms(self._layer)]
        leaf = hidden.detach().requires_grad_(True)
        with torch.enable_grad():
            output = self._layer(leaf, *call.args, **call.kwargs)
        output = output[0] if isinstance(output, tuple) else output
        before = [torch.autograd.grad(output, leaf, gradient, retain_graph=True)[0] for gradient in gradients]
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
