"""NVIDIA's management library, as far as energy and throttling go; absent where there is no driver."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LIBRARY = "libnvidia-ml.so.1"
SUCCESS = 0
POWER, THERMAL = 0, 1
"""Policies that hold a GPU's clocks back (nvmlPerfPolicyType_t)."""


class _Violation(ctypes.Structure):
    _fields_ = (("reference_time", ctypes.c_ulonglong), ("violation_time", ctypes.c_ulonglong))


@dataclass(frozen=True)
class GpuCounters:
    """Counters of one GPU since its driver was loaded; None where it does not keep one."""

    joules: float | None
    thermally_throttled_s: float | None
    power_capped_s: float | None


def gpu_counters() -> tuple[GpuCounters, ...]:
    """One reading of every GPU that this process sees by NVML; none where NVML is not there."""
    with _opened() as library:
        if library is None:
            return ()
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != SUCCESS:
            return ()
        return tuple(_counters(library, index) for index in range(count.value))


@contextmanager
def _opened() -> Iterator[ctypes.CDLL | None]:
    """The library, initialized; None where it is missing or refuses."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        yield None
        return
    if library.nvmlInit_v2() != SUCCESS:
        yield None
        return
    try:
        yield library
    finally:
        library.nvmlShutdown()


def _counters(library: ctypes.CDLL, index: int) -> GpuCounters:
    device = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) != SUCCESS:
        return GpuCounters(None, None, None)
    millijoules = ctypes.c_ulonglong()
    said = library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)) == SUCCESS
    return GpuCounters(
        joules=millijoules.value / 1e3 if said else None,
        thermally_throttled_s=_violated(library, device, THERMAL),
        power_capped_s=_violated(library, device, POWER),
    )


def _violated(library: ctypes.CDLL, device: ctypes.c_void_p, policy: int) -> float | None:
    """Seconds for which a policy held the clocks back."""
    found = _Violation()
    said = library.nvmlDeviceGetViolationStatus(device, ctypes.c_int(policy), ctypes.byref(found)) == SUCCESS
    return found.violation_time / 1e9 if said else None
