"""This machine's processor as a device of the catalogue, measured."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache

import numpy as np

from whichbits.hardware.catalogue import Hardware

READ_BYTES = 256 * 2**20
WIDTH, TOKENS = 2048, 512
REPEATS = 3


def _fastest(call: Callable[[], object]) -> float:
    """Shortest time of a few calls, in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _rates() -> dict[str, float]:
    """Operations a second of a matrix product, by number type: torch's where it is installed, else NumPy's in 32 bit."""
    operations = 2.0 * TOKENS * WIDTH * WIDTH
    try:
        import torch
    except ImportError:
        x, w = np.ones((TOKENS, WIDTH), np.float32), np.ones((WIDTH, WIDTH), np.float32)
        return {"bf16": operations / _fastest(lambda: x @ w)}
    a, b = torch.ones(TOKENS, WIDTH, dtype=torch.bfloat16), torch.ones(WIDTH, WIDTH, dtype=torch.bfloat16)
    i, j = a.to(torch.int8), b.to(torch.int8)
    # Weights stand as an engine keeps them: one row for each output channel.
    return {
        "bf16": operations / _fastest(lambda: torch.mm(a, b.t())),
        "int8": operations / _fastest(lambda: torch._int_mm(i, j.t())),
    }


@cache
def this_cpu() -> Hardware:
    """The processor that this process runs on: memory bandwidth (a large sum) and matrix rates, measured in about a second."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    numbers = np.ones(READ_BYTES // 8)
    bandwidth = READ_BYTES / _fastest(lambda: numbers.sum())
    return Hardware(
        id="cpu",
        name="CPU",
        maker="cpu",
        architecture="cpu",
        memory_kind="dram",
        capability=0.0,
        units=len(os.sched_getaffinity(0)),
        clock_hz=2.5e9,
        memory=memory,
        bandwidth=bandwidth,
        peak=_rates(),
        link=bandwidth,
        link_kind="memory",
        node=1,
        network=1e9,
        power_w=float("nan"),
        source="measured on this machine; the clock is taken as 2.5 GHz",
    )
