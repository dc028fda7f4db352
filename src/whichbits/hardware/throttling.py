"""For how long the machine was held back, by its own counters: a container's processor quota, heat, a GPU's power limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from whichbits.hardware.nvml import gpu_counters

QUOTAS = (Path("/sys/fs/cgroup/cpu.stat"), Path("/sys/fs/cgroup/cpu/cpu.stat"))
"""Of a container: cgroup v2, then v1."""
PROCESSORS = Path("/sys/devices/system/cpu")


def throttled_seconds(quotas: tuple[Path, ...] = QUOTAS, processors: Path = PROCESSORS) -> Mapping[str, float]:
    """Seconds so far by cause, for every cause that this machine counts.

    A GPU's power limit is not among them: at full load it is reached as a rule.
    """
    found = {}
    if (quota := _quota(quotas)) is not None:
        found["processor quota"] = quota
    heat = [_milliseconds(file) for file in processors.glob("cpu*/thermal_throttle/package_throttle_total_time_ms")]
    if known := [value for value in heat if value is not None]:
        found["processor heat"] = max(known)
    gpus = [gpu.thermally_throttled_s for gpu in gpu_counters() if gpu.thermally_throttled_s is not None]
    if gpus:
        found["GPU heat"] = sum(gpus)
    return found


def _quota(files: tuple[Path, ...]) -> float | None:
    """Of the container of this process, summed over its threads."""
    for file in files:
        try:
            lines = [line.split() for line in file.read_text(encoding="utf-8").split("\n")]
        except OSError:
            continue
        values = {line[0]: int(line[1]) for line in lines if len(line) == 2}
        if "throttled_usec" in values:
            return values["throttled_usec"] / 1e6
        if "throttled_time" in values:
            return values["throttled_time"] / 1e9
    return None


def _milliseconds(file: Path) -> float | None:
    try:
        return int(file.read_text(encoding="utf-8")) / 1e3
    except (OSError, ValueError):
        return None
