"""AWQ: columns of weights that large activations meet scaled up before rounding, and weights clipped where that helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from whichbits.formats.checkpoint.names import ATTENTION
from whichbits.quantization.recipe.recipe import Recipe
from whichbits.quantization.rounding.groups import from_groups, to_groups
from whichbits.quantization.rounding.weight import round_weight
from whichbits.quantization.statistics.forward import InputStatistics
from whichbits.quantization.transforms.rescale import rescale
from whichbits.quantization.transforms.transform import CalibratedLayer, Transform, Transformed

if TYPE_CHECKING:
    import torch

    from whichbits.formats.format import Format, QuantizationArgs

Rounding = Callable[["torch.Tensor"], "torch.Tensor"]
"""From a weight [rows, columns] to the one that a checkpoint would hold, float32."""

STRENGTHS = tuple(step / 20 for step in range(20))
"""Exponents of the activations that are tried, as in AutoAWQ."""

CLIPS = tuple(1 - step / 20 for step in range(10))
"""Shares of a group's largest magnitude that weights are clipped to, as in AutoAWQ."""

NOT_CLIPPED = (ATTENTION.query, ATTENTION.key, ATTENTION.fused)
"""Modules whose weights are not clipped: their products are exponents."""

SMALLEST = 1e-4


class Awq(Transform):
    """AWQ, by the recipe's field `awq`."""

    def strength(self, recipe: Recipe) -> float | None:
        """See `Transform`; the strength of the scales is searched."""
        return 1.0 if recipe.awq else None

    def apply(self, layer: CalibratedLayer, strength: float) -> Transformed:
        """See `Transform`."""
        return activation_aware(layer.tensors, layer.statistics, layer.offsets, layer.format, layer.prefix)


def activation_aware(
    tensors: Mapping[str, torch.Tensor],
    statistics: Sequence[InputStatistics],
    offsets: Mapping[str, float],
    format: Format,
    prefix: str,
) -> tuple[dict[str, torch.Tensor], list[InputStatistics]]:
    """A decoder layer with its weights scaled and clipped for `format`, and the statistics of its inputs.

    Arguments as those of `smooth`, and the same inputs are scaled; `prefix` is the layer's name. Raises UserError where no
    input comes out of a norm.
    Source: AWQ (Lin et al., arXiv 2306.00978), section 3.2, with the search of AutoAWQ, which scales by the weights too. The
    error is that of the linear layers' own outputs, the paper's objective; typical activations are root mean squares.
    """
    args = {name: format.of(prefix + name.removesuffix(".weight")).weights for name in tensors}

    def rounding(name: str) -> Rounding:
        return lambda weight: _rounded(weight, args[name], tensors[name].dtype)

    def find(fed: InputStatistics, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        first = args[next(iter(weights))]
        assert first is not None
        return awq_scale(list(weights.values()), fed.hessian, first, [rounding(name) for name in weights])

    result, scaled = rescale(tensors, statistics, offsets, find)
    for fed in scaled:
        for name in (f"{module}.weight" for module in fed.modules):
            chosen = args[name]
            if chosen is not None and not name.removesuffix(".weight").endswith(NOT_CLIPPED):
                result[name] = clipped(result[name], fed.hessian, chosen, rounding(name))
    return result, scaled


def awq_scale(
    weights: Sequence[torch.Tensor], hessian: torch.Tensor, args: QuantizationArgs, rounded: Sequence[Rounding]
) -> torch.Tensor:
    """What each column of `weights` [rows, columns] (modules with one input) is multiplied with; float32 [columns].

    s = x^r / (w^(1 - r) + 1e-4) for x the root mean square of the input's column and w the mean magnitude of the weights'
    column, each weight relative to the largest of its group; s is divided by the root of its largest times its smallest. Of 20
    strengths r and of no scaling the one with the smallest output error: the sum over modules of tr(D H D^T) for
    D = rounded(W s) / s - W and `hessian` H = X^T X. Of equal ones the first is kept, no scaling first of all.
    """
    import torch

    typical = hessian.diagonal().clamp(min=0).sqrt()
    typical = typical / typical.mean().clamp(min=torch.finfo(torch.float32).tiny)
    groups = [to_groups(weight.float().abs(), args) for weight in weights]
    shares = [each / each.amax(dim=2, keepdim=True).clamp(min=SMALLEST) for each in groups]
    relative = torch.cat([from_groups(each, args, *weight.shape) for each, weight in zip(shares, weights, strict=True)])
    magnitude = relative.mean(dim=0)
    best, smallest = torch.ones_like(typical), None
    for strength in (None, *STRENGTHS):
        scale = torch.ones_like(typical)
        if strength is not None:
            scale = (typical.pow(strength) / (magnitude.pow(1 - strength) + SMALLEST)).clamp(min=SMALLEST)
            scale = scale / (scale.max() * scale.min()).sqrt()
        error = 0.0
        for weight, round_ in zip(weights, rounded, strict=True):
            difference = round_(weight.float() * scale) / scale - weight.float()
            error += float(((difference @ hessian) * difference).sum())
        if smallest is None or error < smallest:
            best, smallest = scale, error
    return best


def clipped(weight: torch.Tensor, hessian: torch.Tensor, args: QuantizationArgs, rounded: Rounding) -> torch.Tensor:
    """`weight` [rows, columns] with each group clipped to the share of its largest magnitude that serves its output best.

    For a group's weights w the error is d H d^T for d = rounded(clip(w)) - w and the group's own block H of `hessian`; of equal
    shares the larger is kept.
    """
    import torch

    exact = weight.float()
    groups = to_groups(exact, args)
    size = groups.shape[2]
    starts = range(0, hessian.shape[0], size)
    blocks = torch.stack([hessian[start : start + size, start : start + size] for start in starts])
    largest = groups.abs().amax(dim=2, keepdim=True)
    best, smallest = groups, groups.new_full(groups.shape[:2], torch.inf)
    for share in CLIPS:
        candidate = groups.clamp(-share * largest, share * largest)
        difference = to_groups(rounded(from_groups(candidate, args, *weight.shape)) - exact, args)
        error = (torch.einsum("rgi,gij->rgj", difference, blocks) * difference).sum(dim=2)
        better = error < smallest
        smallest = torch.where(better, error, smallest)
        best = torch.where(better.unsqueeze(2), candidate, best)
    return from_groups(best, args, *weight.shape).to(weight.dtype)


def _rounded(weight: torch.Tensor, args: QuantizationArgs | None, dtype: torch.dtype) -> torch.Tensor:
    if args is None:
        return weight
    return round_weight(weight.to(dtype), args, Recipe(scales="minmax"), None, None).weight
