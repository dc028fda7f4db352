"""The Hessian of a linear layer's output error, and the factor of its inverse that GPTQ works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DAMPING_STEP = 10.0
"""Factor by which damping grows while the factorisation fails."""

LARGEST_DAMPING = 1.0
"""Damping beyond which the factorisation is given up: there the Hessian is mostly damping."""


STRIP = 256
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
    not given. A plain sum over tokens, so a token counts the same whatever batch it came in.
    Source: GPTQ (Frantar et al., arXiv 2210.17323), equation 1, without the factor 2.
    """
    flat = inputs.reshape(-1, inputs.shape[-1]).float()
    if weights is not None:
        flat = flat * weights.sqrt().unsqueeze(1)
    for begin in range(0, len(hessian), STRIP):
        end = begin + STRIP
        hessian[begin:end, :end].addmm_(flat[:, begin:end].T, flat[:, :end])


def mirror(hessian: torch.Tensor) -> None:
    """Copy the lower triangle of `hessian` [columns, columns] to the upper, in place."""
    lower = hessian.tril()
    hessian.copy_(lower + lower.tril(-1).T)


def factorise(hessian: torch.Tensor, *, damping: float, act_order: bool) -> Factor:
    """Factorise the inverse of `hessian` (float32 [columns, columns]), damped by `damping` times its mean diagonal.

    Columns that no token has reached ("dead") get a diagonal of the mean, so that they are rounded to nearest and disturb no
    other. With `act_order` columns go by falling diagonal, else as they are. Damping grows tenfold while the factorisation
    fails. Raises ArithmeticError where it fails up to a damping of 1, or where the Hessian is not finite.

    With H = V V^T and V upper triangular, the inverse is U^T U for U = V^-1: one Cholesky factorisation and one triangular
    inverse in place of the paper's Cholesky, inverse and Cholesky (arXiv 2210.17323, section 3.3, step 3).
    """
    import torch

    diagonal = hessian.diagonal()
    if not bool(torch.isfinite(hessian).all()):
        raise ArithmeticError("the Hessian holds numbers that are not finite")
    alive = diagonal > 0
    mean = float(diagonal[alive].mean()) if bool(alive.any()) else 1.0
    order = torch.argsort(diagonal, descending=True, stable=True) if act_order else torch.arange(len(diagonal))
    order = order.to(hessian.device)
    backwards = order.flip(0)
    damped = hessian[backwards][:, backwards]
    level = damping
    while level <= LARGEST_DAMPING:
        damped.diagonal().copy_(torch.where(alive, diagonal + level * mean, mean)[backwards])
        lower, info = torch.linalg.cholesky_ex(damped)
        if int(info) == 0:
            identity = torch.eye(len(diagonal), dtype=hessian.dtype, device=hessian.device)
            upper = torch.linalg.solve_triangular(lower, identity, upper=False).flip(0, 1).contiguous()
            if bool(torch.isfinite(upper).all()):
                return Factor(order, upper, level)
        level *= DAMPING_STEP
    raise ArithmeticError(f"the Hessian has no Cholesky factorisation up to a damping of {level / DAMPING_STEP:g}")


def output_error(difference: torch.Tensor, hessian: torch.Tensor) -> float:
    """Sum over tokens of the squared error of the layer's output: trace of D H D^T for D = `difference` [rows, columns].

    Both float32; by half of H, since it is symmetric.
    """
    import torch

    error = torch.zeros((), dtype=torch.float64, device=hessian.device)
    for begin in range(0, len(hessian), STRIP):
        end = begin + STRIP
        strip = difference[:, begin:end] @ hessian[begin:end, :end]
        strip[:, :begin] *= 2
        error += (strip * difference[:, :end]).sum(dtype=torch.float64)
    return float(error)


def shrunk(hessian: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """`hessian` with `shrinkage` times the geometric mean of its diagonal's positive entries added to the diagonal.

    What the calibration tokens show by chance has little left to say then. The geometric mean is that of a typical column,
    where the mean is that of the few that carry massive activations.
    """
    import torch

    diagonal = hessian.diagonal()
    alive = diagonal > 0
    if not shrinkage or not bool(alive.any()):
        return hessian
    result = hessian.clone()
    result.diagonal().add_(torch.where(alive, shrinkage * diagonal[alive].log().mean().exp(), 0.0))
    return result


def column_importance(hessian: torch.Tensor) -> torch.Tensor:
    """How much an error in each column matters, float32 [columns] of mean about 1: the mean square of the column's inputs.

    Held at a thousandth of the mean at least, so that a group that no token has reached still gets a scale that fits it.
    """
    diagonal = hessian.diagonal()
    mean = diagonal.mean()
    return (diagonal / mean).clamp(min=1e-3) if float(mean) > 0 else diagonal.new_ones(len(diagonal))
