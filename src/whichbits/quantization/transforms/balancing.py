"""Balancing: SmoothQuant with scales by fourth moments in place of largest values; heads of attention are scaled too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.statistics.forward import InputStatistics
from whichbits.quantization.transforms.rescale import rescale
from whichbits.quantization.transforms.transform import CalibratedLayer, Transform, Transformed

if TYPE_CHECKING:
    import torch


class Balancing(Transform):
    """Scales by moments, by the recipe's field `balancing`."""

    scales_heads: ClassVar[bool] = True

    def strength(self, recipe: Recipe) -> float | None:
        """See `Transform`."""
        return recipe.balancing

    def apply(self, layer: CalibratedLayer, strength: float) -> Transformed:
        """See `Transform`."""
        head: int = layer.module.self_attn.head_dim  # type: ignore[assignment, union-attr]
        return balance(layer.tensors, layer.statistics, strength, layer.offsets, head)


def balance(
    tensors: Mapping[str, torch.Tensor],
    statistics: Sequence[InputStatistics],
    strength: float,
    offsets: Mapping[str, float],
    head: int,
) -> tuple[dict[str, torch.Tensor], list[InputStatistics]]:
    """A decoder layer that computes the same with inputs and weights that are equally hard to quantize.

    Arguments as those of `rescale`; `head` is the width of an attention head: the input of `o_proj` is scaled as well, by what
    goes into the rows of `v_proj`.
    """
    import torch

    def find(fed: InputStatistics, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        energy = torch.stack([weight.float().square().sum(dim=0) for weight in weights.values()]).sum(dim=0)
        return balancing_scale(fed.fourth, energy, strength)

    return rescale(tensors, statistics, offsets, find, head)


def balancing_scale(fourth: torch.Tensor, energy: torch.Tensor, strength: float) -> torch.Tensor:
    """What each column of the input is divided by, and of the weight multiplied with; float32 [columns].

    `fourth` are the sums of each input column's fourth powers, `energy` those of each weight column's squares. With steps
    for each token a and for each output w, the error of the output is a^2 sum(s^2 energy) + w^2 sum(x^2 / s^2); for
    steps that do not depend on s both parts together are least at s^2 = |x| / |w|. Steps follow the largest values, which is
    why the fourth moment stands for x. `strength` 1 is that; below, where weights have fewer bits than inputs, a power of it.
    A column of zeros in either stays as it is.
    """
    import torch

    scale = (fourth.pow(0.25) / energy.sqrt()).pow(strength / 2)
    empty = (fourth == 0) | (energy == 0)
    middle = scale[~empty].median() if not bool(empty.all()) else scale.new_ones(())
    return torch.where(empty, 1.0, scale / middle)
