"""Calibration tokens that are given as such."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from whichbits.errors import UserError

if TYPE_CHECKING:
    import torch

    from whichbits.quantize.recipe import Calibration


def given_tokens(content: bytes, calibration: Calibration, vocabulary: int) -> torch.Tensor:
    """The first `samples` lines of a file of JSON lines, each a list of `length` token ids; int64 [samples, length].

    Raises UserError where there are fewer lines, or one is not that.
    """
    import torch

    lines = content.decode("utf-8").splitlines()
    if len(lines) < calibration.samples:
        raise UserError(
            f"calibration file {calibration.file} holds {len(lines)} samples, and samples asks for {calibration.samples}",
            remedy="give more lines, or lower samples",
        )
    rows = []
    for number, line in enumerate(lines[: calibration.samples], start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        ids = isinstance(row, list) and all(type(each) is int and 0 <= each < vocabulary for each in row)
        if not ids or len(row) != calibration.length:
            raise UserError(
                f"calibration file {calibration.file}, line {number} is not a list of {calibration.length} token ids",
                remedy=f"write a line as [12, 345, ...], each below {vocabulary}",
            )
        rows.append(row)
    return torch.tensor(rows, dtype=torch.int64)
