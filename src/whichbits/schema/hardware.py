"""The part of a machine that can change a result or a speed."""

from __future__ import annotations

from dataclasses import dataclass

from whichbits.schema.frozen import Frozen


@dataclass(frozen=True)
class Gpu:
    """One accelerator; memory in MiB, capability as `9.0` (NVIDIA) or `gfx942` (AMD)."""

    name: str
    memory_mib: int
    capability: str
    driver: str


class HardwareKey(Frozen):
    """A machine as part of a key: without the memory of the host, which varies from boot to boot."""

    kind: str
    cpu: str
    architecture: str
    instruction_sets: tuple[str, ...]
    cores: int
    gpus: tuple[Gpu, ...] = ()
