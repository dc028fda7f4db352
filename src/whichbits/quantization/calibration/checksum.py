"""Calibration data that must be what the recipe says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.quantization.recipe.recipe import Calibration


def check_sha256(calibration: Calibration, digest: str, what: str) -> None:
    """Raises UserError where `what` has another SHA-256 than the recipe says."""
    if calibration.sha256 not in (None, digest):
        raise UserError(
            f"{what} has SHA-256 {digest}, not {calibration.sha256}",
            remedy="restore what was meant, or leave sha256 out",
        )
