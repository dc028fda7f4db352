"""The tensors of a checkpoint, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.formats.checkpoint.files import language_prefix, read_tensor, tensor_files
from whichbits.formats.checkpoint.names import DECODER, EMBEDDINGS, HEAD, HEAD_BIAS, LAYERS, layer_prefix
from whichbits.models.configuration import stated_dtype

if TYPE_CHECKING:
    import torch


KEPT_IN_FLOAT32 = ("e_score_correction_bias",)
"""Ends of the names of parameters that engines keep in float32: what shifts the choice of experts."""

PAGE = 4096
"""Bytes of a file of which reading one brings all into memory."""


class StoredTensors(Mapping[str, "torch.Tensor"]):
    """The tensors of the checkpoint in `folder`, in the order of their names, mapped into memory one by one.

    A language model's have the names that they have where there is no other model beside it. Those in float32 are rounded to
    the 16-bit dtype that config.json states, as engines round them, and buffers are left out.
    """

    def __init__(self, folder: Path) -> None:
        self._files = tensor_files(folder)
        self._prefix = language_prefix(self._files)
        self._dtype = stated_dtype(folder)

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, name: str) -> torch.Tensor:
        import torch

        stored = self._prefix + name
        tensor = read_tensor(self._files, stored if stored in self._files else name)
        if self._dtype is None or tensor.dtype != torch.float32 or name.endswith(KEPT_IN_FLOAT32):
            return tensor
        return tensor.to(getattr(torch, self._dtype))


class TensorsOnDevice(Mapping[str, "torch.Tensor"]):
    """`tensors` brought to `device` when they are asked for."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: str) -> None:
        self._tensors = tensors
        self._device = device

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name]
        # The disk is waited for here, and not in the copy to a GPU, which holds up what comes after it there.
        return tensor if self._device == "cpu" else page_in(tensor).to(self._device)


class TensorsAs(Mapping[str, "torch.Tensor"]):
    """`tensors`, brought to `device` when they are asked for, those of floating point as `dtype`."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, device: str) -> None:
        self._tensors = tensors
        self._dtype = dtype
        self._device = device

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name].to(self._device)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


def page_in(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`; where it is mapped to a file, it has been read from there."""
    import torch

    if tensor.device.type == "cpu" and tensor.numel():
        tensor.flatten().view(torch.uint8)[::PAGE].max()
    return tensor


def layer_tensors(tensors: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    """The tensors of decoder layer `number`, by name within it."""
    prefix = layer_prefix(number)
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}


def outside_layers(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of the decoder is not in its layers, by name within it."""
    names = [name for name in tensors if name.startswith(DECODER) and not name.startswith(LAYERS)]
    return {name.removeprefix(DECODER): tensors[name] for name in names}


def head_bias_of(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """What is added to the logits [vocabulary], None where nothing is (Phi's head has a bias)."""
    return tensors.get(HEAD_BIAS)


def head_of(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The matrix [vocabulary, width] that makes logits: the embeddings where it is tied to them."""
    return tensors[HEAD if HEAD in tensors else EMBEDDINGS]
