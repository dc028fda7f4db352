"""SmoothQuant: part of the activations' range moved into the weights, by scales merged into what comes before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.statistics.forward import InputStatistics
from whichbits.quantization.transforms.rescale import rescale
from whichbits.quantization.transforms.transform import CalibratedLayer, Transform, Transformed

if TYPE_CHECKING:
    import torch

SMALLEST = 1e-5
"""Least scale, as in the published implementations."""


def smoothing_scale(largest_input: torch.Tensor, largest_weight: torch.Tensor, strength: float) -> torch.Tensor:
    """What each column of the input is divided by, and of the weight multiplied with; float32 [columns].

    `largest_input` and `largest_weight` are the largest magnitudes of each column; a column of zeros in either stays as it is.
    `strength` 0 moves nothing of the input's range into the weights, 1 all of it.
    Source: SmoothQuant (Xiao et al., arXiv 2211.10438), equation 4.
    """
    import torch

    scale = largest_input.pow(strength) / largest_weight.pow(1 - strength)
    empty = (largest_input == 0) | (largest_weight == 0)
    return torch.where(empty, 1.0, scale.clamp(min=SMALLEST))


class Smoothing(Transform):
    """SmoothQuant, by the recipe's field `smoothing`."""

    def strength(self, recipe: Recipe) -> float | None:
        """See `Transform`."""
        return recipe.smoothing

    def apply(self, layer: CalibratedLayer, strength: float) -> Transformed:
        """See `Transform`."""
        return smooth(layer.tensors, layer.statistics, strength, layer.offsets)


def smooth(
    tensors: Mapping[str, torch.Tensor],
    statistics: Sequence[InputStatistics],
    strength: float,
    offsets: Mapping[str, float],
) -> tuple[dict[str, torch.Tensor], list[InputStatistics]]:
    """A decoder layer that computes the same with smoother inputs of its linear layers, and the statistics of those.

    Arguments as those of `rescale`.
    """
    import torch

    def find(fed: InputStatistics, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        largest = torch.stack([weight.abs().amax(dim=0) for weight in weights.values()]).amax(dim=0).to(torch.float32)
        return smoothing_scale(fed.largest, largest, strength)

    return rescale(tensors, statistics, offsets, find)
