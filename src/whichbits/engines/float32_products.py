"""Linear layers of BF16 on processors that have no instructions for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from whichbits.engines.emulated_linear import has_bfloat16_products

ROWS = 16
"""Tokens from which on it pays: fewer are bound by reading the weights, which torch's own loop does in place."""


@contextmanager
def float32_products() -> Iterator[None]:
    """Have linear layers of BF16 on the CPU computed as products in float32, rounded once to BF16, where that is faster.

    A product of two BF16 numbers is exact in float32, and sums are in float32 either way: results differ from torch's own by
    the order of the sum alone. Without instructions for BF16 torch takes four to six times as long.
    """
    if has_bfloat16_products():
        yield
    else:
        with _Float32Products():
            yield


class _Float32Products(TorchFunctionMode):
    """Takes the place of `torch.nn.functional.linear`."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute one torch function."""
        if function is functional.linear and not kwargs and _is_slow(args[0]):
            return _linear(*args)
        return function(*args, **(kwargs or {}))


def _is_slow(states: Tensor) -> bool:
    return states.dtype == torch.bfloat16 and states.device.type == "cpu" and states.numel() >= ROWS * states.shape[-1]


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """States [..., K] by weight [N, K], BF16 [..., N]; the bias [N] is added before the rounding, as torch does."""
    exact = functional.linear(states.float(), weight.float(), None if bias is None else bias.float())
    return exact.to(torch.bfloat16)
