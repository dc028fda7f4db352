"""The Hessian of a linear layer's output error, and the factor of its inverse that GPTQ works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.quantization.model.finite import is_finite

if TYPE_CHECKING:
    import torch

DAMPING_STEP = 10.0
"""Factor by which damping grows while the factorisation fails."""

LARGEST_DAMPING = 1.0
"""Damping beyond which the factorisation is given up: there the Hessian is mostly damping."""

EXACT_OF = 128
"""Of so many tokens one, the longest, is summed in float32 where the others are not."""

STRIP = 192
"""Rows of the Hessian that are computed at once, up to the diagonal: the other half follows from symmetry."""


@dataclass(frozen=True)
class Factor:
    """The inverse of a damped Hessian, factorised in the order in which columns are rounded.

    `order` int64 [columns] lists the columns as they are visited; `upper` float32 [columns, columns] is upper triangular with
    `upper.T @ upper` the inverse of the damped Hessian in that order; `damping` is what it took, a share of the mean diagonal.
    """

    order: torch.Tensor
    upper: torch.Tensor
    damping: float


def accumulate(hessian: torch.Tensor, inputs: torch.Tensor, weights: torch.Tensor | None = None) -> None:
    """Add X^T diag(weights) X of `inputs` [..., columns] (any float dtype) to the lower triangle of `hessian`, in place.

    `hessian` is float32 [columns, columns], and complete after `mirror`; `weights` are float32, one a token, 1 where they are
    not given. A plain sum over tokens, so a token counts the same whatever batch it came in. Tokens of BF16 on a CPU are
    multiplied in BF16, which is twice as fast: the sum over those that came together is rounded to it before it is added.
    The longest are summed in float32 beside, since all but their products would be lost in that.
    Source: GPTQ (Frantar et al., arXiv 2210.17323), equation 1, without the factor 2.
    """
    import torch

    short = inputs.dtype == torch.bfloat16 and inputs.device.type == "cpu"
    flat = inputs.reshape(-1, inputs.shape[-1])
    if weights is not None:
        flat = flat.float() * weights.sqrt().unsqueeze(1)
        flat = flat.bfloat16() if short else flat
    exact = flat
    if short:
        lengths = torch.linalg.vector_norm(flat, dim=1)
        longest = lengths.topk(-(-len(flat) // EXACT_OF)).indices
        exact = flat[longest]
        flat = flat.index_fill(0, longest, 0)
        for begin in range(0, len(hessian), STRIP):
            end = begin + STRIP
            hessian[begin:end, :end].add_(flat[:, begin:end].T @ flat[:, :end])
    exact = exact.float()
    for begin in range(0, len(hessian), STRIP):
        end = begin + STRIP
        hessian[begin:end, :end].addmm_(exact[:, begin:end].T, exact[:, :end])


def accumulate_errors(
    total: torch.Tensor, errors: torch.Tensor, inputs: torch.Tensor, weights: torch.Tensor | None = None
) -> None:
    """Add E^T diag(weights) X of `errors` [..., rows] and `inputs` [..., columns] to `total` float32 [rows, columns], in place.

    `weights` as for `accumulate`. Inputs of BF16 on a CPU are multiplied in BF16 as there, but the longest with the others:
    nothing is factorised here.
    """
    import torch

    errors, inputs = errors.reshape(-1, errors.shape[-1]).float(), inputs.reshape(-1, inputs.shape[-1])
    if weights is not None:
        errors = errors * weights.unsqueeze(1)
    if inputs.dtype == torch.bfloat16 and inputs.device.type == "cpu":
        total.add_(errors.bfloat16().T @ inputs)
    else:
        total.addmm_(errors.T, inputs.float())


def mirror(hessian: torch.Tensor) -> None:
    """Copy the lower triangle of `hessian` [columns, columns] to the upper, in place."""
    for begin in range(0, len(hessian), STRIP):
        end = begin + STRIP
        square = hessian[begin:end, begin:end]
        square.copy_(square.tril() + square.tril(-1).T)
        hessian[begin:end, end:] = hessian[end:, begin:end].T


class NotFinite(ArithmeticError):
    """A Hessian with numbers that are not finite: what it was summed over is not, or is too large to be squared."""


def factorise(hessian: torch.Tensor, *, damping: float, act_order: bool, shrinkage: float = 0.0) -> Factor:
    """Factorise the inverse of `hessian` (float32 [columns, columns]), damped by `damping` times its mean diagonal.

    `shrinkage` is added before (see `shrunk`).

    Columns that no token has reached ("dead") get a diagonal of the mean, so that they are rounded to nearest and disturb no
    other. With `act_order` columns go by falling diagonal, else as they are. Damping grows tenfold while the factorisation
    fails. Raises ArithmeticError where it fails up to a damping of 1, NotFinite where the Hessian is not finite.

    With H = V V^T and V upper triangular, the inverse is U^T U for U = V^-1: one Cholesky factorisation and one triangular
    inverse in place of the paper's Cholesky, inverse and Cholesky (arXiv 2210.17323, section 3.3, step 3).
    """
    import torch

    diagonal = shrunk(hessian.diagonal(), shrinkage)
    if not is_finite(hessian):
        raise NotFinite("the Hessian of its inputs holds numbers that are not finite")
    alive = diagonal > 0
    mean = float(diagonal[alive].mean()) if bool(alive.any()) else 1.0
    order = torch.argsort(diagonal, descending=True, stable=True) if act_order else torch.arange(len(diagonal))
    order = order.to(hessian.device)
    backwards = order.flip(0)
    damped = hessian.index_select(0, backwards).index_select(1, backwards)
    level = damping
    while level <= LARGEST_DAMPING:
        damped.diagonal().copy_(torch.where(alive, diagonal + level * mean, mean)[backwards])
        lower, info = torch.linalg.cholesky_ex(damped)
        if int(info) == 0:
            upper = inverse_of_lower(lower).flip(0, 1)
            if bool(torch.isfinite(upper.sum())):
                return Factor(order, upper, level)
        level *= DAMPING_STEP
    raise ArithmeticError(f"the Hessian has no Cholesky factorisation up to a damping of {level / DAMPING_STEP:g}")


def inverse_of_lower(lower: torch.Tensor) -> torch.Tensor:
    """The inverse of a lower triangular matrix [columns, columns], by halves, so that most of it are products of matrices."""
    import torch

    if len(lower) <= STRIP:
        identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        inverse: torch.Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
        return inverse
    middle = len(lower) // 2
    inverse = lower.new_zeros(lower.shape)  # by rows, which a Cholesky factor is not
    inverse[:middle, :middle] = inverse_of_lower(lower[:middle, :middle])
    inverse[middle:, middle:] = inverse_of_lower(lower[middle:, middle:])
    inverse[middle:, :middle] = inverse[middle:, middle:] @ lower[middle:, :middle] @ inverse[:middle, :middle].neg()
    return inverse


def output_error(difference: torch.Tensor, hessian: torch.Tensor) -> float:
    """Sum over tokens of the squared error of the layer's output: trace of D H D^T for D = `difference` [rows, columns].

    Both float32; by half of H, since it is symmetric. The products are of BF16, so it is right to about three digits, and to
    few per cent where terms cancel.
    """
    import torch

    error = torch.zeros((), dtype=torch.float64, device=hessian.device)
    short = difference.bfloat16()
    width = max(STRIP, len(hessian) // 8)  # wider strips of wide ones, since each makes as many numbers as it ends at
    for begin in range(0, len(hessian), width):
        end = begin + width
        strip = (short[:, begin:end] @ hessian[begin:end, :end].bfloat16()).float()
        strip[:, :begin] *= 2
        error += strip.mul_(difference[:, :end]).sum()
    return float(error)


def shrunk(diagonal: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """A Hessian's `diagonal` [columns] with `shrinkage` times the geometric mean of its positive entries added to these.

    What the calibration tokens show by chance has little left to say then. The geometric mean is that of a typical column,
    where the mean is that of the few that carry massive activations.
    """
    import torch

    alive = diagonal > 0
    if not shrinkage or not bool(alive.any()):
        return diagonal
    return diagonal + torch.where(alive, shrinkage * diagonal[alive].log().mean().exp(), 0.0)


def column_importance(diagonal: torch.Tensor) -> torch.Tensor:
    """How much an error in each column matters, float32 [columns] of mean about 1: the mean square of the column's inputs.

    `diagonal` is the Hessian's. Held at a thousandth of the mean at least, so that a group that no token has reached still
    gets a scale that fits it.
    """
    mean = diagonal.mean()
    return (diagonal / mean).clamp(min=1e-3) if float(mean) > 0 else diagonal.new_ones(len(diagonal))
