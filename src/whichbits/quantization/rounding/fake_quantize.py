"""Activations as a format's kernel sees them: quantized when the model runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from whichbits.formats.grid.grid import grid_of

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs


def quantized_activations(x: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    """`x` [..., columns] rounded to the grid of `args` and back, in its dtype.

    One scale for each token, or for each group of a token, maps its largest magnitude to the largest code, as kernels do (for
    b-bit integers to 2^(b-1) - 1). Other strategies, whose scales are found beforehand, leave `x` as it is.
    """
    import torch

    if not args.dynamic or args.strategy not in ("token", "group"):
        return x
    groups = x.float().reshape(-1, args.group_size or x.shape[-1])
    scale = (groups.abs().amax(dim=1, keepdim=True) / grid_of(args).largest).clamp(min=torch.finfo(torch.float32).tiny)
    return (grid_of(args).rounded(groups / scale) * scale).to(x.dtype).reshape(x.shape)


@contextmanager
def activations_quantized(modules: Iterable[torch.nn.Module], args: QuantizationArgs | None) -> Iterator[None]:
    """Feed `modules` quantized inputs for a while; modules that are handed the same tensor go on sharing one."""
    last: list[tuple[torch.Tensor, torch.Tensor]] = []

    def feed(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        assert args is not None
        if not last or last[0][0] is not given[0]:
            last[:] = [(given[0], quantized_activations(given[0], args))]
        return (last[0][1], *given[1:])

    hooks = [module.register_forward_pre_hook(feed) for module in modules] if args else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
