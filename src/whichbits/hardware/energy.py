"""Energy that the machine has used, by its own counters: NVML of NVIDIA's GPUs, RAPL of the processor packages.

RAPL counts the packages (cores and caches, on most also memory controllers), not memory modules, fans or losses; NVML a whole
board. Neither is a meter at the wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whichbits.hardware.nvml import gpu_counters

POWERCAP = Path("/sys/class/powercap")
MICRO = 1e-6


@dataclass(frozen=True)
class Counter:
    """One counter: joules since some moment; it begins anew at `range_joules`, where it has one."""

    name: str
    joules: float
    range_joules: float | None = None


def read_energy(powercap: Path = POWERCAP) -> tuple[Counter, ...]:
    """Every counter of this machine that can be read; none where it has none, or they are root's alone."""
    gpus = enumerate(gpu_counters())
    return (
        *(Counter(f"GPU {index} (NVML)", gpu.joules) for index, gpu in gpus if gpu.joules is not None),
        *(counter for zone in sorted(powercap.glob("intel-rapl:*")) if (counter := _package(zone)) is not None),
    )


def joules_between(before: tuple[Counter, ...], after: tuple[Counter, ...]) -> float | None:
    """What the counters that both readings have went up by; None where there are none, or one of them went back."""
    later = {counter.name: counter for counter in after}
    total, some = 0.0, False
    for counter in before:
        if (now := later.get(counter.name)) is None:
            continue
        used = now.joules - counter.joules
        if used < 0 and counter.range_joules is not None:
            used += counter.range_joules
        if used < 0:
            return None
        total, some = total + used, True
    return total if some else None


def why_no_energy(powercap: Path = POWERCAP) -> str:
    """Why there is no counter to read."""
    packages = sorted(powercap.glob("intel-rapl:*"))
    if packages:
        return f"{packages[0]}/energy_uj cannot be read (it is root's alone), and there is no GPU with NVML"
    return "the machine has no energy counters: neither a GPU with NVML nor RAPL"


def _package(zone: Path) -> Counter | None:
    """A processor package; None for a part of one, which is in it, and for one that cannot be read."""
    if zone.name.count(":") != 1:
        return None
    try:
        joules = int((zone / "energy_uj").read_text(encoding="utf-8")) * MICRO
        most = int((zone / "max_energy_range_uj").read_text(encoding="utf-8")) * MICRO
        return Counter(f"{(zone / 'name').read_text(encoding='utf-8').strip()} (RAPL)", joules, most)
    except (OSError, ValueError):
        return None
