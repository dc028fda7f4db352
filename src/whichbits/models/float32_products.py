"""Matrix products of BF16 on processors that have no instructions for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

ROWS = 16
"""Rows of the left side from which on it pays: fewer are bound by reading the right one, which torch does in place."""

_PRODUCTS = frozenset((torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm))


def has_bfloat16_products() -> bool:
    """Whether this processor multiplies BF16; others convert, which takes several times as long as float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def float32_products() -> Iterator[None]:
    """Have products of BF16 matrices on the CPU computed in float32 and rounded once to BF16, where that is faster.

    A product of two BF16 numbers is exact in float32, and sums are in float32 either way: results differ from torch's own by
    the order of the sum alone. Without instructions for BF16 torch takes five times as long for a linear layer, and 30 to a
    hundred times for products along rows (`x @ y`), as on the way back through a layer (`benchmarks/float32_products.py`).
    """
    if has_bfloat16_products():
        yield
    else:
        with _Float32Products():
            yield


class _Float32Products(TorchFunctionMode):
    """Takes the place of `torch.nn.functional.linear` and of `@`."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute one torch function."""
        if not kwargs and (function is functional.linear or function in _PRODUCTS) and _are_slow(*args[:2]):
            # A bias is added before the rounding, as torch does.
            result: Tensor = function(*(None if each is None else each.float() for each in args))
            return result.to(torch.bfloat16)
        return function(*args, **(kwargs or {}))


def _are_slow(left: Tensor, right: Tensor) -> bool:
    both = all(each.dtype == torch.bfloat16 and each.device.type == "cpu" for each in (left, right))
    return both and left.dim() > 1 and left.numel() >= ROWS * left.shape[-1]
