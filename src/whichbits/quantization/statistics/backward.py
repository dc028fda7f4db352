"""The backward pass: statistics of inputs whose tokens are weighted by Fisher information."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from whichbits.quantization.model.decoder import (
    LOGITS_AT_A_TIME,
    empty,
    final_norm,
    first_inputs,
    hooked,
    logits_of,
    norms,
    samples_at_a_time,
    softcap_and_scaling,
)
from whichbits.quantization.model.finite import check_states
from whichbits.quantization.model.prefetch import prefetched_layers
from whichbits.quantization.model.ranks import ALONE, Ranks
from whichbits.quantization.model.replicas import Replica, filled, in_turn, run
from whichbits.quantization.model.tensors import head_bias_of, head_of, outside_layers
from whichbits.quantization.statistics.forward import InputStatistics, merged, no_statistics
from whichbits.quantization.statistics.hessian import accumulate, mirror

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

EVERY = 8
"""Of so many tokens one counts for the curvature between rows."""

LARGEST_CURVATURE = 8192
"""Rows up to which a module's curvature is measured, since it has as many columns."""


@dataclass(frozen=True)
class ObservedLayer:
    """A filled layer on the way back: its `number`, its `tensors` by name within it, its `replicas`, the hidden states
    [samples, length, width] that reach them in turn, and the statistics of the inputs of its linear layers.

    `weights` are those of each batch's tokens, float32 [tokens], by the first module that reads an input. Of several ranks the
    first has the statistics and weights of all batches, the others none.
    """

    number: int
    tensors: Mapping[str, torch.Tensor]
    replicas: Sequence[Replica]
    inputs: list[torch.Tensor]
    statistics: list[InputStatistics]
    weights: list[Mapping[str, torch.Tensor]]


def observe_backwards(
    decoder: Any,
    tensors: Mapping[str, torch.Tensor],
    linears: Sequence[Sequence[str]],
    tokens: torch.Tensor,
    draws: int,
    seed: int,
    folder: Path,
    devices: Sequence[str],
    ranks: Ranks = ALONE,
    on_layer: Callable[[int, int], None] | None = None,
) -> Iterator[ObservedLayer]:
    """Run the model forward and back, and note on the way back, from the last layer to the first, what its linears are fed.

    The loss is -log p(y) for a next token y drawn from the model's own distribution p. The mean of its gradients' outer
    products is the curvature of KL(model || changed model), so an error that a layer makes on a token costs as much as the
    squared length of the gradient at its output says: the token's weight, summed over the modules that read one input. The
    curvature of a module is the sum of its gradients' outer products over some of the tokens; modules with very many rows have
    none. Modules that do not see every token (experts) have none either, and count their tokens alike.

    `decoder` has empty layers; `tensors` are the model's by full name, on the first of `devices`, which take the batches of
    samples in turn; `linears` names linear layers within each layer; `tokens` are [samples, length], of which each of `ranks`
    runs its own; at each of them `draws` next tokens y are drawn, by the `seed`, the same whichever rank runs it. In memory are
    one layer and the next, the hidden states of all samples, and as many gradients for each draw; hidden states between layers
    are in `folder` meanwhile. `on_layer(done, all)` counts the layers, each once forward and once back.
    Sources: the Fisher information as KL's curvature (Martens, arXiv 1412.1193); gradients at a linear layer's output as
    weights of its Hessian (GuidedQuant, Kim et al., arXiv 2505.07004, with one group of channels); both sides of the Hessian
    from them (YAQA, Tseng et al., arXiv 2505.22988).
    """
    import torch
    from safetensors.torch import load_file, save_file

    together = samples_at_a_time(tokens.shape[1])
    hidden, calls = first_inputs(decoder, outside_layers(tensors), ranks.own_samples(tokens, together))
    first = hidden[0].device
    hidden = in_turn(hidden, devices)
    forwards = range(len(decoder.layers))
    with TemporaryDirectory(dir=folder) as scratch:
        ahead = prefetched_layers(tensors, forwards)
        for number in forwards:
            save_file({"hidden": torch.cat([each.cpu() for each in hidden])}, Path(scratch) / f"{number}.safetensors")
            hidden = run(filled(decoder.layers[number], next(ahead), calls[number], devices), hidden)
            check_states(hidden, f"the hidden states behind layer {number}")
            empty(decoder.layers[number])
            if on_layer:
                on_layer(number + 1, 2 * len(forwards))
        generator = torch.Generator().manual_seed(seed)
        drawn = ranks.own_samples(torch.rand(len(tokens), draws, tokens.shape[1], generator=generator), together).to(first)
        head, bias, norm = head_of(tensors), head_bias_of(tensors), final_norm(decoder)
        gradients = [
            [
                gradient.to(states.device)
                for gradient in gradients_of_loss(states.to(first), norm, head, decoder.config, each.transpose(0, 1), bias)
            ]
            for states, each in zip(hidden, torch.split(drawn, together), strict=True)
        ]
        backwards = forwards[::-1]
        ahead = prefetched_layers(tensors, backwards)
        for number in backwards:
            own = next(ahead)
            replicas = filled(decoder.layers[number], own, calls[number], devices)
            kept = load_file(Path(scratch) / f"{number}.safetensors")["hidden"]
            hidden = in_turn(torch.split(kept, together), devices)
            notes = [_Notes(replica, linears[number]) for replica in replicas]
            gradients = [
                notes[batch % len(notes)].back(*pair) for batch, pair in enumerate(zip(hidden, gradients, strict=True))
            ]
            statistics = _together(notes, first, ranks)
            weights = _interleaved(ranks.to_first(_interleaved(each.weights for each in notes)))
            del notes
            if on_layer:
                on_layer(2 * len(forwards) - number, 2 * len(forwards))
            yield ObservedLayer(number, own, replicas, hidden, statistics, weights)
            del own, replicas, kept, hidden, statistics, weights
            empty(decoder.layers[number])


def gradients_of_loss(
    hidden: torch.Tensor,
    norm: torch.nn.Module,
    head: torch.Tensor,
    config: Any,
    drawn: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """Gradients of the losses at the last layer's output `hidden` [samples, length, width], in its dtype, one for each draw.

    `drawn` [draws, samples, length] are numbers from 0 to 1: y is where the cumulated p goes beyond. At the logits a gradient
    is p less 1 at y, so all draws of a token share what p makes. `config` says whether logits are scaled or capped, `bias`
    [vocabulary] what is added to them before.
    """
    import torch

    cap, scaling = softcap_and_scaling(config)
    leaf = hidden.detach().requires_grad_(True)
    with torch.enable_grad():
        states = norm(leaf)
    slopes = []
    flat, numbers = states.detach().flatten(0, 1), drawn.flatten(1).T.contiguous()
    for part, number in zip(torch.split(flat, LOGITS_AT_A_TIME), torch.split(numbers, LOGITS_AT_A_TIME), strict=True):
        logits = logits_of(part, head, config, bias)
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
    """What the linears of a replica are fed, batch by batch: `found` and the tokens' `weights`, by the first that reads each
    input, and `curvature`.
    """

    def __init__(self, replica: Replica, linears: Sequence[str]) -> None:
        self._layer = replica.layer.requires_grad_(False)
        self._call = replica.call
        self._linears = linears
        self.found: dict[str, InputStatistics] = {}
        self.weights: list[Mapping[str, torch.Tensor]] = []
        self.curvature: dict[str, torch.Tensor] = {}

    def back(self, hidden: torch.Tensor, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
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
            if leader == name and name not in self.found:
                norm = next((norm for tensor, norm in from_norms if tensor is x), None)
                self.found[name] = no_statistics(x, norm)
            if x.shape[:-1] == hidden.shape[:-1]:
                output.register_hook(partial(weigh, name, leader))  # type: ignore[no-untyped-call]

        def weigh(name: str, leader: str, slope: torch.Tensor) -> None:
            squares = torch.linalg.vector_norm(slope, dim=-1, dtype=torch.float32).square().flatten()
            weights[leader] = weights[leader] + squares if leader in weights else squares
            rows = slope.shape[-1]
            if rows <= LARGEST_CURVATURE and name not in self.curvature:
                self.curvature[name] = torch.zeros(rows, rows, device=slope.device)
            if name in self.curvature:
                accumulate(self.curvature[name], slope[:, ::EVERY])

        hooks = [(self._layer.get_submodule(name).register_forward_hook, partial(note, name)) for name in self._linears]
        hooks += [(norm.register_forward_hook, partial(note_norm, name)) for name, norm in norms(self._layer)]
        leaf = hidden.detach().requires_grad_(True)
        with hooked(hooks), torch.enable_grad():
            output = self._layer(leaf, *self._call.args, **self._call.kwargs)
        output = output[0] if isinstance(output, tuple) else output
        last = len(gradients) - 1
        before = [
            torch.autograd.grad(output, leaf, gradient, retain_graph=number < last)[0]
            for number, gradient in enumerate(gradients)
        ]
        for leader, x in inputs.items():
            found = self.found[leader]
            found.modules = sorted({*found.modules, *readers[leader]}, key=list(self._linears).index)
            found.add(x.detach(), None, weights.get(leader))
        self.weights.append(weights)
        return before


def _interleaved(parts: Iterable[Sequence[T]]) -> list[T]:
    """What was dealt in turn to several, in its order again."""
    return [each for dealt in zip_longest(*parts, fillvalue=None) for each in dealt if each is not None]


def _sum(parts: Iterable[Mapping[str, torch.Tensor]], device: torch.device) -> dict[str, torch.Tensor]:
    together: dict[str, torch.Tensor] = {}
    for name, part in (named for each in parts for named in each.items()):
        together[name] = together[name].add_(part.to(device)) if name in together else part.to(device)
    return together


def _together(notes: Sequence[_Notes], device: torch.device, ranks: Ranks) -> list[InputStatistics]:
    """The statistics of all inputs on `device`, with the curvature at the outputs of the modules that read them."""
    curvature = _sum(ranks.to_first(_sum((each.curvature for each in notes), device)), device)
    for whole in curvature.values():
        mirror(whole)
    statistics = merged([each.found for each in notes], device, ranks)
    for found in statistics:
        found.curvature = {name: curvature[name] for name in found.modules if name in curvature}
    return statistics
