"""What a transform is: it changes a decoder layer before its weights are rounded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from whichbits.quantization.recipe.methods import TRANSFORMS, Method

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import Format
    from whichbits.quantization.recipe.recipe import Recipe
    from whichbits.quantization.statistics.forward import InputStatistics

Transformed = tuple[Mapping[str, "torch.Tensor"], Sequence["InputStatistics"]]
"""A layer's tensors by name within it, and the statistics of the inputs of its linear layers."""


@dataclass(frozen=True)
class CalibratedLayer:
    """A decoder layer with what was seen of its inputs.

    `tensors` are the layer's, 16 bit, by name within it; `prefix` is what their full names begin with. `offsets` is what each
    norm adds to its weight (1 in Gemma), by name. `format` says what each weight is to be rounded to; `module` is the layer as
    the library has it.
    """

    tensors: Mapping[str, torch.Tensor]
    statistics: Sequence[InputStatistics]
    offsets: Mapping[str, float]
    format: Format
    prefix: str
    module: torch.nn.Module


class Transform(Method, ABC):
    """A way to change a layer so that it computes the same, or nearly, and loses less by rounding."""

    scales_heads: ClassVar[bool] = False
    """Whether it scales the input of attention's output projection too."""

    def strength(self, recipe: Recipe, name: str) -> float | None:
        """How much of it `recipe` asks for; None where it does not. By default what its `transforms` say of `name`."""
        return next((choice.strength for choice in recipe.transforms if choice.name == name), None)

    @abstractmethod
    def apply(self, layer: CalibratedLayer, strength: float) -> Transformed:
        """The layer's new tensors, and what the statistics of its inputs then are. Raises UserError where it cannot be done."""


@dataclass(frozen=True)
class Asked:
    """A transform that a recipe asks for."""

    name: str
    transform: Transform
    strength: float


def asked(recipe: Recipe) -> list[Asked]:
    """The transforms of a recipe in their order: those of the package, then those that it names. Raises UserError."""
    found = []
    for name in (*TRANSFORMS.ours, *(choice.name for choice in recipe.transforms)):
        transform = TRANSFORMS.get(name)
        if not isinstance(transform, Transform):
            raise TypeError(f"{type(transform).__name__} is no Transform")
        strength = transform.strength(recipe, name)
        if strength is not None:
            found.append(Asked(name, transform, strength))
    return found
