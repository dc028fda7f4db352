"""Scales of a quantized key-value cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.names import ATTENTION
from whichbits.formats.grid.grid import grid_of
from whichbits.quantization.model.decoder import Call
from whichbits.quantization.model.ranks import ALONE, Ranks
from whichbits.quantization.model.replicas import Replica, run
from whichbits.quantization.rounding.scales import storable_in

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs

KEY_PROJECTIONS = (ATTENTION.key, ATTENTION.fused)


class Recorder:
    """Stands in for a layer's cache: keys and values pass through, their largest magnitudes stay."""

    def __init__(self) -> None:
        self._largest: list[torch.Tensor] = []

    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Take in keys and values as attention is about to use them, of any shape."""
        import torch

        self._largest.append(torch.stack((keys.abs().amax(), values.abs().amax())))  # on its device, which is not waited for
        return keys, values

    @property
    def largest(self) -> tuple[float, float] | None:
        """The largest magnitudes of keys and of values; None where nothing was seen."""
        if not self._largest:
            return None
        keys, values = (max(each) for each in zip(*(found.tolist() for found in self._largest), strict=True))
        return keys, values


def largest_keys_and_values(
    replicas: Sequence[Replica], inputs: Iterable[torch.Tensor], ranks: Ranks = ALONE
) -> tuple[float, float]:
    """The largest magnitude of keys (after rotary embedding) and of values over `inputs` [1, length, width], of a filled layer.

    Of several ranks, over those of all.
    Raises UserError where the layer's attention does not put them into a cache as transformers' models do.
    """
    recorder = Recorder()
    recording = {"past_key_values": recorder}
    run([replace(each, call=Call(each.call.args, {**each.call.kwargs, **recording})) for each in replicas], inputs)
    if recorder.largest is None:
        layer = type(replicas[0].layer).__name__
        raise UserError(
            f"the keys and values of {layer} cannot be seen, so its cache's scales cannot be calibrated",
            remedy="leave out the quantized key-value cache, or calibration, which leaves its scales at 1",
        )
    keys, values = (max(each) for each in zip(*ranks.to_all(recorder.largest), strict=True))
    return keys, values


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
        for part, magnitude in zip("kv", largest or (grid_of(args).half_range,) * 2, strict=True):
            scale = torch.tensor([magnitude / grid_of(args).half_range])
            tensors[f"{attention}.{part}_scale"] = storable_in(dtype)(scale).to(dtype)
    return tensors
