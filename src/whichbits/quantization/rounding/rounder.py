"""What a rounder is: it puts a weight onto its grid under scales that are found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.quantization.recipe.methods import ROUNDERS, Method

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import QuantizationArgs
    from whichbits.quantization.recipe.recipe import Recipe
    from whichbits.quantization.statistics.forward import InputStatistics
    from whichbits.quantization.statistics.hessian import Factor


@dataclass(frozen=True)
class Unrounded:
    """A weight float32 [rows, columns], and all that rounding it may look at.

    `scale` float32 [scale rows, scale columns] stays as it is; where the grid is asymmetric, the weight is moved by its zero
    points already. `statistics` are those of its inputs, None where the recipe is not calibrated; `rows` is the factor of the
    curvature of the loss at its output, where that is known.
    """

    weight: torch.Tensor
    args: QuantizationArgs
    scale: torch.Tensor
    recipe: Recipe
    statistics: InputStatistics | None
    rows: Factor | None


class Rounder(Method, ABC):
    """A way to round. One that is `calibrated` gets the statistics of the weight's inputs."""

    @abstractmethod
    def round(self, unrounded: Unrounded) -> torch.Tensor:
        """The weight on its grid, float32 [rows, columns]. Raises ArithmeticError where that cannot be computed."""


def rounder(name: str) -> Rounder:
    """The rounder of that name. Raises UserError as `Registry.get`."""
    found = ROUNDERS.get(name)
    assert isinstance(found, Rounder), "checked as it was loaded"
    return found
