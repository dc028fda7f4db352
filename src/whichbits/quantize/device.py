"""Where a pass is computed."""

from __future__ import annotations

from whichbits.errors import UserError


def computing_device(name: str | None) -> str:
    """The device called `name` (`cpu`, `cuda`, `cuda:1`); without a name CUDA's first where there is one, else the CPU.

    Raises UserError where this machine has no such device.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UserError(f"device: {name!r} is not known", remedy="choose cpu or cuda")
    present = torch.cuda.device_count() if kind == "cuda" else 1
    if int(number or 0) >= present:
        raise UserError(f"device: this machine has no {name}", remedy="leave the device out, or choose cpu")
    return name
