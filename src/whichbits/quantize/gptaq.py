"""Asymmetric calibration: a weight corrected beforehand for the error that earlier layers have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from whichbits.quantize.hessian import Factor


def corrected(weight: torch.Tensor, cross: torch.Tensor, factor: Factor, strength: float) -> torch.Tensor:
    """The weight, float32 [rows, columns], whose output for what arrives is nearest to the base's for the base's inputs.

    With X the inputs that arrive and B the base's (tokens in rows), `cross` float32 [columns, columns] is (B - X)^T X, and
    `factor` that of the damped X^T X. For `strength` 1 the result is the least-squares solution W + W cross (X^T X)^-1; below,
    a part of the way there, since the correction is learnt from few tokens. Rounding it by GPTQ minimises the same error.
    Source: the objective of GPTAQ (Li et al., arXiv 2504.02692), solved before rounding in place of column by column.
    """
    exact = weight.float()
    ordered = exact[:, factor.order] @ cross[factor.order][:, factor.order]
    correction = exact.new_empty(exact.shape)
    correction[:, factor.order] = (ordered @ factor.upper.T) @ factor.upper
    result: torch.Tensor = exact + strength * correction
    return result
