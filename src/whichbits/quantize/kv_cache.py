"""Scales of a quantized key-value cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from whichbits.errors import UserError
from whichbits.quantize.decoder import Call, run
from whichbits.quantize.grid import half_range
from whichbits.quantize.scales import storable_in

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs

KEY_PROJECTIONS = ("k_proj", "qkv_proj")


class Recorder:
    """Stands in for a layer's cache: keys and values pass through, their largest magnitudes stay."""

    def __init__(self) -> None:
        self.largest: tuple[float, float] | None = None

    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Take in keys and values as attention is about to use them, of any shape."""
        found = float(keys.abs().amax()), float(values.abs().amax())
        self.largest = found if self.largest is None else (max(self.largest[0], found[0]), max(self.largest[1], found[1]))
        return keys, values


def largest_keys_and_values(layer: torch.nn.Module, inputs: Iterable[torch.Tensor], call: Call) -> tuple[float, float]:
    """The largest magnitude of keys (after rotary embedding) and of values over `inputs` [1, length, width], of a filled layer.

    Raises UserError where the layer's attention does not put them into a cache as transformers' models do.
    """
    recorder = Recorder()
    run(layer, inputs, Call(call.args, {**call.kwargs, "past_key_values": recorder}))
    if recorder.largest is None:
        raise UserError(
            f"the keys and values of {type(layer).__name__} cannot be seen, so its cache's scales cannot be calibrated",
            remedy="leave out the quantized key-value cache, or calibration, which leaves its scales at 1",
        )
    return recorder.largest


def cache_scales(
    names: Iterable[str], args: QuantizationArgs, dtype: torch.dtype, largest: tuple[float, float] | None
) -> dict[str, torch.Tensor]:
    """What a checkpoint stores for the key-value cache of the layers whose tensors have these `names`: two scales [1] a layer.

    `largest` are the largest magnitudes of keys and values; without, scales are 1. They are stored in `dtype`.
    """
    import torch

    tensors = {}
    for name in names:
        attention, _, own = name.removesuffix(".weight").rpartition(".")
        if own not in KEY_PROJECTIONS:
            continue
        for part, magnitude in zip("kv", largest or (half_range(args),) * 2, strict=True):
            scale = torch.tensor([magnitude / half_range(args)])
            tensors[f"{attention}.{part}_scale"] = storable_in(dtype)(scale).to(dtype)
    return tensors
