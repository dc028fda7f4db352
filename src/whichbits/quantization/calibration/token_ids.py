"""Calibration tokens that are given as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.core.text import json_lines

if TYPE_CHECKING:
    import torch

    from whichbits.quantization.recipe.recipe import Calibration


def given_tokens(content: bytes, calibration: Calibration, vocabulary: int) -> torch.Tensor:
    """The first `samples` lines of a file of JSON lines, each a list of `length` token ids; int64 [samples, length].

    Raises UserError where there are fewer lines, or one is not that.
    """
    import torch

    name = f"calibration file {calibration.file}"
    lines = list(json_lines(content, name))
    if len(lines) < calibration.samples:
        raise UserError(
            f"{name} holds {len(lines)} samples, and samples asks for {calibration.samples}",
            remedy="give more lines, or lower samples",
        )
    rows = []
    for number, row in lines[: calibration.samples]:
        ids = isinstance(row, list) and all(type(each) is int and 0 <= each < vocabulary for each in row)
        if not ids or len(row) != calibration.length:
            raise UserError(
                f"{name} line {number} is not a list of {calibration.length} token ids",
                remedy=f"write a line as [12, 345, ...], each below {vocabulary}",
            )
        rows.append(row)
    return torch.tensor(rows, dtype=torch.int64)
