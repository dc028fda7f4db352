"""Asymmetric calibration: a weight corrected beforehand for the error that earlier layers have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from whichbits.quantization.statistics.hessian import Factor

LONGEST = 0.2
"""Length of a correction beside the weight's, by Frobenius norm, beyond which it is cut: a safeguard, since the error that too
long a one makes grows from layer to layer."""


def corrected(
    weight: torch.Tensor, cross: torch.Tensor, factor: Factor, strength: float, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """The weight, float32 [rows, columns], whose output for what arrives is nearest to the base's for the base's inputs.

    With X the inputs that arrive and B the base's (tokens in rows), `cross` float32 [columns, columns] is (B - X)^T X, and
    `factor` that of the damped X^T X. For `strength` 1 the result is the least-squares solution W + W cross (X^T X)^-1; below,
    a part of the way there, since the correction is learnt from few tokens. Where the output is added to the residual stream,
    which holds S and in the base R, `residual` float32 [rows, columns] is (R - S)^T X, or this module's share: then it is the
    sum that comes nearest. Rounding the corrected weight by GPTQ minimises the same error.
    Source: the objective of GPTAQ (Li et al., arXiv 2504.02692), solved before rounding in place of column by column; the
    stream's error in it is ours.
    """
    exact = weight.float()
    ordered = strength * (exact[:, factor.order] @ cross[factor.order][:, factor.order])
    if residual is not None:
        ordered += residual[:, factor.order]
    correction = exact.new_empty(exact.shape)
    correction[:, factor.order] = (ordered @ factor.upper.T) @ factor.upper
    result: torch.Tensor = exact + correction
    return result


def bounded(weight: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`target`, the corrected `weight`, moved back towards it to where the correction is not longer than `LONGEST` allows."""
    import torch

    exact = weight.float()
    correction = target - exact
    allowed = LONGEST * torch.linalg.matrix_norm(exact) / torch.linalg.matrix_norm(correction)
    result: torch.Tensor = exact + allowed.nan_to_num(1.0).clamp(max=1.0) * correction
    return result
