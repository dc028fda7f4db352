"""What the linear layers of a decoder layer are fed: one set of statistics for each input, shared by those that read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from whichbits.quantize.decoder import Call, run
from whichbits.quantize.hessian import Factor, accumulate, factorise

if TYPE_CHECKING:
    import torch


class InputStatistics:
    """Statistics of one input of a decoder layer's linear layers.

    `modules` are those that read it (q, k and v; gate and up); `hessian` is its X^T X, float32 [columns, columns]; `largest`
    its largest magnitude in each column, float32 [columns]; `norm` the module of which it is the output, where that is a norm.
    """

    def __init__(
        self, hessian: torch.Tensor, largest: torch.Tensor, modules: Iterable[str] = (), norm: str | None = None
    ) -> None:
        self.hessian = hessian
        self.largest = largest
        self.modules = list(modules)
        self.norm = norm
        self._factors: dict[tuple[float, bool], Factor] = {}

    def factor(self, *, damping: float, act_order: bool) -> Factor:
        """The Hessian's factor, computed once for all that read this input. Raises ArithmeticError as `factorise`."""
        key = (damping, act_order)
        if key not in self._factors:
            self._factors[key] = factorise(self.hessian, damping=damping, act_order=act_order)
        return self._factors[key]

    def add(self, inputs: torch.Tensor) -> None:
        """Take in `inputs` [..., columns]."""
        import torch

        accumulate(self.hessian, inputs)
        largest = inputs.reshape(-1, inputs.shape[-1]).abs().amax(dim=0).to(torch.float32)
        self.largest = torch.maximum(self.largest, largest)


def observe(
    layer: torch.nn.Module, linears: Iterable[str], inputs: Iterable[torch.Tensor], call: Call
) -> tuple[list[InputStatistics], list[torch.Tensor]]:
    """Run a filled `layer` on `inputs`; return what its `linears` (names within it) were fed, and the layer's outputs.

    Modules that are handed the very same tensor share one set of statistics. Norms are the modules with a weight vector.
    """
    import torch

    found: dict[str, InputStatistics] = {}
    norm_outputs: list[tuple[torch.Tensor, str]] = []
    seen: list[tuple[torch.Tensor, str]] = []

    def forget(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        seen.clear()
        norm_outputs.clear()

    def note_norm(name: str, module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        norm_outputs.append((output, name))

    def note_input(name: str, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        (x,) = args
        leader = next((leader for tensor, leader in seen if tensor is x), None)
        if leader is not None:
            if name not in found[leader].modules:
                found[leader].modules.append(name)
            return
        seen.append((x, name))
        if name not in found:
            columns = x.shape[-1]
            norm = next((norm for tensor, norm in norm_outputs if tensor is x), None)
            found[name] = InputStatistics(torch.zeros(columns, columns), torch.zeros(columns), [name], norm)
        found[name].add(x)

    handles = [layer.register_forward_pre_hook(forget, with_kwargs=True)]
    for name in linears:
        handles.append(layer.get_submodule(name).register_forward_pre_hook(partial(note_input, name)))
    for name, norm in _norms(layer):
        handles.append(norm.register_forward_hook(partial(note_norm, name)))
    try:
        outputs = run(layer, inputs, call)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values()), outputs


def norm_offsets(layer: torch.nn.Module) -> dict[str, float]:
    """What each norm of a filled layer adds to its weight, by name within it: 1 where a weight of zeros passes its input on.

    Found by trying, since norms of both kinds bear like names (Gemma's adds 1).
    """
    import torch
    from torch.func import functional_call

    offsets = {}
    for name, norm in _norms(layer):
        zeros = {key: torch.zeros_like(parameter) for key, parameter in norm.named_parameters()}
        probe = torch.arange(1.0, norm.weight.shape[0] + 1).to(norm.weight.dtype)
        with torch.no_grad():
            offsets[name] = float(bool(functional_call(norm, zeros, (probe,)).any()))
    return offsets


def _norms(layer: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Modules with a weight vector, by name."""
    import torch

    for name, module in layer.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.dim() == 1:
            yield name, module
