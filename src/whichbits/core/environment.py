"""Variables of a user's shell that would change results without a word, or have a process wait for others."""

from __future__ import annotations

import os
from collections.abc import Mapping

ARITHMETIC = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_DEFAULT_FPMATH_MODE",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""They change the arithmetic of torch's matrix products: float32 computed in TF32 or BF16, other instruction sets."""

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun, or a cluster's operator for it, tells the processes of one program, so that they wait for each other."""


def not_launched(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that waits for no other, wherever the study that starts it was started."""
    return {name: value for name, value in environment.items() if name not in LAUNCHER}


def drop_arithmetic() -> list[str]:
    """Take these variables out of this process's environment, and so of its children's; returns those that were set.

    To be called before torch is imported.
    """
    found = [name for name in ARITHMETIC if os.environ.pop(name, None) is not None]
    return sorted(found)
