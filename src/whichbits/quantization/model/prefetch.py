"""The tensors of one decoder layer after another, the next one read while the last one is worked on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from whichbits.quantization.model.tensors import layer_tensors, page_in

if TYPE_CHECKING:
    import torch


def prefetched_layers(tensors: Mapping[str, torch.Tensor], numbers: Sequence[int]) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors of the decoder layers `numbers`, in that order, by name within each.

    While one is worked on, the next one is read, and no more; what was handed out is not held.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(_read, tensors, numbers[0])
        for following in numbers[1:]:
            read = [coming.result()]
            coming = reader.submit(_read, tensors, following)
            yield read.pop()
        read = [coming.result()]
        del coming
        yield read.pop()


def _read(tensors: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    return {name: page_in(tensor) for name, tensor in layer_tensors(tensors, number).items()}
