"""Where a pass is computed."""

from __future__ import annotations

from whichbits.core.errors import UserError


def computing_devices(names: str | None) -> tuple[str, ...]:
    """The devices called `names` (`cpu`, `cuda`, `cuda:0,cuda:1`); without names CUDA's first where there is one, else the CPU.

    Raises UserError where this machine has no such device, or one is named twice.
    """
    import torch

    if names is None:
        return ("cuda:0",) if torch.cuda.is_available() else ("cpu",)
    devices = tuple(_device(name.strip()) for name in names.split(","))
    if len(set(devices)) != len(devices) or (len(devices) > 1 and "cpu" in devices):
        raise UserError(f"device: {names!r} is not a list of different GPUs", remedy="write for example cuda:0,cuda:1")
    return devices


def _device(name: str) -> str:
    """The full name of one device."""
    import torch

    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UserError(f"device: {name!r} is not known", remedy="choose cpu, cuda, or some of cuda:0,cuda:1,...")
    present = torch.cuda.device_count() if kind == "cuda" else 1
    if int(number or 0) >= present:
        raise UserError(f"device: this machine has no {name}", remedy="leave the device out, or choose cpu")
    return "cpu" if kind == "cpu" else f"cuda:{int(number or 0)}"
