"""Kernels that engines run formats with, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Device = Literal["cpu", "cuda", "rocm", "npu"]


class EngineKernel(BaseModel):
    """A kernel of an engine; catalogue.yaml says what the fields are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    kernel: str | None = None
    devices: tuple[Device, ...]
    formats: tuple[str, ...] = ()
    capability: tuple[float, float] | None = None
    status: Literal["native", "reference"]
    reason: str
    seen: Literal["run", "read"]
    source: str | None = None

    def runs(self, name: str, device: Device, capability: float) -> bool:
        """Whether it runs a format, or a key-value cache, as its name says; `capability` is that of a CUDA device."""
        if self.status != "native" or name not in self.formats or device not in self.devices:
            return False
        if device != "cuda":
            return True
        return self.capability is not None and self.capability[0] <= capability <= self.capability[1]


def minimal_compute_capability(kernels: Iterable[EngineKernel], name: str) -> str | None:
    """The lowest NVIDIA compute capability that has a native kernel for a format; None where none has."""
    lowest = [kernel.capability[0] for kernel in kernels if kernel.capability and name in kernel.formats]
    return f"{min(lowest):.1f}" if lowest else None
