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

    def strength(self, recipe: Recipe) -> float | None:
        """How much of it a field of its own in `recipe` asks for; None where that does not, or there is no such field."""
        return None

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
    """The transforms of a recipe in their order: those with fields of their own, then those that it names, each as often.

    Raises UserError as `Registry.get`.
    """
    own = ((name, transform, transform.strength(recipe)) for name, transform in ((n, _transform(n)) for n in TRANSFORMS.ours))
    found = [Asked(name, transform, strength) for name, transform, strength in own if strength is not None]
    return found + [Asked(choice.name, _transform(choice.name), choice.strength) for choice in recipe.transforms]


def _transform(name: str) -> Transform:
    found = TRANSFORMS.get(name)
    assert isinstance(found, Transform), "checked as it was loaded"
    return found
