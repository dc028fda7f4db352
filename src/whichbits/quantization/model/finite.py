"""Numbers that are not finite, named where they come up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    import torch

IN_BFLOAT16 = (
    "save the model in bfloat16, whose range is that of float32: "
    'AutoModelForCausalLM.from_pretrained(MODEL, dtype="bfloat16").save_pretrained(FOLDER), and its tokenizer'
)
"""What helps where activations leave the range of FP16."""


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers of a tensor are finite; no copy of it is made."""
    import torch

    if not tensor.numel() or not tensor.is_floating_point():
        return True
    if tensor.dtype.itemsize == 1:  # FP8 knows no minimum
        return bool(torch.isfinite(tensor.float()).all())
    # Both are NaN where one number is.
    least, largest = torch.aminmax(tensor)
    return bool(torch.isfinite(least) & torch.isfinite(largest))


def check_tensors(tensors: Mapping[str, torch.Tensor], made_by: str) -> None:
    """Raises UserError that names the first of `tensors` that is not finite, and what it was `made_by`."""
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise UserError(
                f"{name} holds numbers that are not finite, {made_by}",
                remedy="give another checkpoint of the model" if made_by == STORED else "leave that out of the recipe",
            )


STORED = "as it is stored"
"""Says of a tensor that nothing was done to it yet."""


def check_states(states: Iterable[torch.Tensor], what: str) -> None:
    """Raises UserError where hidden states are not finite; `what` says which."""
    import torch

    for each in states:
        if is_finite(each):
            continue
        if each.dtype == torch.float16:
            raise UserError(
                f"{what} are not finite: they leave the range of FP16 (up to 65504), the type of the checkpoint",
                remedy=IN_BFLOAT16,
            )
        raise UserError(
            f"{what} are not finite",
            remedy="check what the model itself makes of such text; a tensor of it may be damaged",
        )
