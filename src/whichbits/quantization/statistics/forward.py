"""Statistics of the inputs of linear layers: one set for each input, shared by the layers that read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from whichbits.quantization.model.decoder import hooked, norms
from whichbits.quantization.model.ranks import ALONE, Ranks
from whichbits.quantization.model.replicas import Replica, run
from whichbits.quantization.statistics.hessian import Factor, accumulate, accumulate_errors, factorise, mirror
from whichbits.quantization.statistics.residual_stream import adding

if TYPE_CHECKING:
    import torch

OUTPUT_DAMPING = 1.0
"""Share of the mean curvature that is added to the curvature of the loss, which is noisy: one gradient for each token."""


class InputStatistics:
    """Statistics of one input of a decoder layer's linear layers.

    `modules` are those that read it (q, k and v; gate and up); `hessian` is its X^T X, float32 [columns, columns], each token
    counted by its weight; `largest` its largest magnitude in each column, float32 [columns]; `norm` the module of which it is
    the output, where that is a norm; `fourth` is the sum of each column's fourth powers, weighted alike, float32 [columns].
    `curvature`, where it is known, is that of the loss at each module's output, float32 [rows, rows]. `cross`, where a
    reference was run beside, is (B - X)^T X for its inputs B, float32 [columns, columns], weighted alike; there is none for
    experts, which are not sent the same tokens. `residual`, beside `cross`, is (R - S)^T X of the modules that add to the
    residual stream, which holds S there and for the reference R, in units of the module's output, float32 [rows, columns];
    where several of a layer add to it, each has an even share.
    """

    def __init__(
        self,
        hessian: torch.Tensor,
        largest: torch.Tensor,
        modules: Iterable[str] = (),
        norm: str | None = None,
        cross: torch.Tensor | None = None,
        fourth: torch.Tensor | None = None,
    ) -> None:
        self.hessian = hessian
        self.largest = largest
        self.cross = cross
        self.fourth = hessian.new_zeros(len(hessian)) if fourth is None else fourth
        self.modules = list(modules)
        self.curvature: Mapping[str, torch.Tensor] = {}
        self.residual: dict[str, torch.Tensor] = {}
        self.norm = norm
        self._factors: dict[tuple[float, float, bool], Factor] = {}

    def factor(self, *, damping: float, shrinkage: float, act_order: bool) -> Factor:
        """The factor of the shrunk Hessian, computed once for all that read it. Raises ArithmeticError as `factorise`."""
        key = (damping, shrinkage, act_order)
        if key not in self._factors:
            self._factors[key] = factorise(self.hessian, damping=damping, act_order=act_order, shrinkage=shrinkage)
        return self._factors[key]

    def row_factor(self, module: str) -> Factor | None:
        """The factor of the curvature at the output of `module` (its full name), where it is known."""
        found = _named(self.curvature, module)
        return None if found is None else factorise(found, damping=OUTPUT_DAMPING, act_order=True)

    def residual_of(self, module: str) -> torch.Tensor | None:
        """The error of the residual stream that `module` (its full name) adds to, where it is known."""
        return _named(self.residual, module)

    def add(self, inputs: torch.Tensor, reference: torch.Tensor | None, weights: torch.Tensor | None = None) -> None:
        """Take in `inputs` [..., columns], what the `reference` has in their place, and the tokens' weights (None: all 1).

        `hessian` has its lower triangle alone until `complete`.
        """
        import torch

        accumulate(self.hessian, inputs, weights)
        flat = inputs.reshape(-1, inputs.shape[-1])
        self.largest = torch.maximum(self.largest, flat.abs().amax(dim=0).float())
        counted = flat.new_ones(len(flat), dtype=torch.float32) if weights is None else weights
        self.fourth += counted @ flat.to(torch.float32, copy=True).square_().square_()
        if self.cross is not None and reference is not None:
            accumulate_errors(self.cross, reference.float() - inputs.float(), inputs, weights)

    def add_residual(self, module: str, error: torch.Tensor, inputs: torch.Tensor, weights: torch.Tensor | None) -> None:
        """Take in the `error` [..., rows] of the stream that `module` adds to, beside its `inputs` [..., columns]."""
        if module not in self.residual:
            self.residual[module] = self.hessian.new_zeros(error.shape[-1], inputs.shape[-1])
        accumulate_errors(self.residual[module], error, inputs, weights)

    def to(self, device: torch.device) -> InputStatistics:
        """The same on `device`."""
        cross = None if self.cross is None else self.cross.to(device)
        hessian, largest, fourth = (each.to(device) for each in (self.hessian, self.largest, self.fourth))
        moved = InputStatistics(hessian, largest, self.modules, self.norm, cross, fourth)
        moved.residual = {module: residual.to(device) for module, residual in self.residual.items()}
        return moved

    def merge(self, other: InputStatistics) -> None:
        """Take in what `other`, on whatever device, has seen of the same input."""
        device = self.hessian.device
        self.hessian += other.hessian.to(device)
        self.fourth += other.fourth.to(device)
        self.largest = self.largest.maximum(other.largest.to(device))
        if self.cross is not None and other.cross is not None:
            self.cross += other.cross.to(device)
        for module, residual in other.residual.items():
            self.residual[module] += residual.to(device)
        self.modules += [module for module in other.modules if module not in self.modules]

    def complete(self) -> None:
        """Fill the Hessian's upper triangle, once every input was taken in."""
        mirror(self.hessian)


def _named(by_module: Mapping[str, torch.Tensor], full_name: str) -> torch.Tensor | None:
    """What is there for a module, whose name within the layer ends its full name."""
    return next((found for own, found in by_module.items() if full_name.endswith(f".{own}")), None)


def no_statistics(inputs: torch.Tensor, norm: str | None, *, beside: bool = False) -> InputStatistics:
    """Statistics of no token yet, for inputs like `inputs` [..., columns]; `beside` says whether a reference is run too."""
    import torch

    columns = inputs.shape[-1]
    hessian = torch.zeros(columns, columns, device=inputs.device)
    cross = torch.zeros_like(hessian) if beside else None
    return InputStatistics(hessian, hessian.new_zeros(columns), (), norm, cross)


@dataclass(frozen=True)
class Observation:
    """Statistics of each input, the layer's outputs, and its outputs for the reference's inputs where there is one."""

    statistics: list[InputStatistics]
    outputs: list[torch.Tensor]
    reference: list[torch.Tensor] | None


def merged(parts: Iterable[Mapping[str, InputStatistics]], device: torch.device, ranks: Ranks = ALONE) -> list[InputStatistics]:
    """The statistics of a layer's inputs on `device`, where each of its replicas has noted some, by the first that reads it.

    Those of this rank's replicas come together first, then those of the ranks, by rank; on the first there is the result, on
    the others nothing.
    """
    together = _sum(ranks.to_first(_sum(parts, device)), device)
    for found in together.values():
        found.complete()
    return list(together.values())


def _sum(parts: Iterable[Mapping[str, InputStatistics]], device: torch.device) -> dict[str, InputStatistics]:
    together: dict[str, InputStatistics] = {}
    for name, found in (named for part in parts for named in part.items()):
        if name in together:
            together[name].merge(found)
        else:
            together[name] = found.to(device)
    return together


def observe(
    replicas: Sequence[Replica],
    linears: Iterable[str],
    inputs: Sequence[torch.Tensor],
    reference: Sequence[torch.Tensor] | None = None,
    weights: Sequence[Mapping[str, torch.Tensor]] | None = None,
    ranks: Ranks = ALONE,
) -> Observation:
    """Run a filled layer on `inputs`, and note what its `linears` (names within it) are fed.

    Modules that are handed the very same tensor share one set of statistics, which end on the first replica's device. Norms are
    the modules with a weight vector. The base's inputs as `reference`, batch by batch, are run beside, for the difference that
    they make. All are placed `in_turn`, also the `weights` of each batch's tokens, by the first module that reads an input.
    Of several ranks each has its own batches; statistics are of all batches, and on the first rank alone.
    """
    linears = list(linears)
    # The first rank's, so that all ranks measure the same.
    adds = ranks.of_first(lambda: adding(replicas[0], linears, inputs[0][:1])) if reference is not None else {}
    states = [each.before for each in adds.values() if each.before is not None]
    parts: list[dict[str, InputStatistics]] = [{} for _ in replicas]
    norm_outputs: list[tuple[torch.Tensor, str]] = []
    seen: list[tuple[torch.Tensor, str]] = []
    streams: dict[str | None, torch.Tensor] = {}
    beside: dict[str | None, torch.Tensor] = {}
    outputs: list[torch.Tensor] = []
    reference_outputs: list[torch.Tensor] = []

    def note(into: dict[str | None, torch.Tensor], name: str, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        into[name] = args[0]

    def note_norm(name: str, module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        norm_outputs.append((output, name))

    def note_input(batch: int, name: str, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        (x,) = args
        found = parts[batch % len(replicas)]
        leader = next((leader for tensor, leader in seen if tensor is x), None)
        if leader is not None:
            if name not in found[leader].modules:
                found[leader].modules.append(name)
            return
        seen.append((x, name))
        if name not in found:
            norm = next((norm for tensor, norm in norm_outputs if tensor is x), None)
            # Experts are sent other tokens beside, which are nothing to compare with.
            same = reference is not None and x.shape[:-1] == streams[None].shape[:-1]
            found[name] = no_statistics(x, norm, beside=same)
            found[name].modules.append(name)
        counted = None if weights is None else weights[batch].get(name)
        found[name].add(x, beside.get(name), counted)
        if name in adds:
            error = beside[adds[name].before].float() - streams[adds[name].before].float()
            found[name].add_residual(name, error / (adds[name].gain * len(adds)), x, counted)

    for batch, hidden in enumerate(inputs):
        replica = replicas[batch % len(replicas)]
        inner = replica.layer.get_submodule
        streams[None] = hidden
        if reference is not None:
            beside[None] = reference[batch]
            names = [*linears, *states]
            with hooked((inner(name).register_forward_pre_hook, partial(note, beside, name)) for name in names):
                reference_outputs += run([replica], [reference[batch]])
        hooks = [(inner(name).register_forward_pre_hook, partial(note, streams, name)) for name in states]
        hooks += [(inner(name).register_forward_pre_hook, partial(note_input, batch, name)) for name in linears]
        hooks += [(norm.register_forward_hook, partial(note_norm, name)) for name, norm in norms(replica.layer)]
        seen.clear()
        norm_outputs.clear()
        with hooked(hooks):
            outputs += run([replica], [hidden])
    return Observation(merged(parts, inputs[0].device, ranks), outputs, None if reference is None else reference_outputs)


def norm_offsets(layer: torch.nn.Module) -> dict[str, float]:
    """What each norm of a filled layer adds to its weight, by name within it: 1 where a weight of zeros passes its input on.

    Found by trying, since norms of both kinds bear like names (Gemma's adds 1).
    """
    import torch
    from torch.func import functional_call

    offsets = {}
    for name, norm in norms(layer):
        zeros = {key: torch.zeros_like(parameter) for key, parameter in norm.named_parameters()}
        probe = torch.arange(1.0, norm.weight.shape[0] + 1).to(norm.weight)
        with torch.no_grad():
            offsets[name] = float(bool(functional_call(norm, zeros, (probe,)).any()))
    return offsets
