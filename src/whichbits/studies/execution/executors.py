"""The executors by name; an installed package adds one by an entry point of the group `whichbits.executors`."""

from __future__ import annotations

from whichbits.core.entry_points import Registry
from whichbits.studies.execution.executor import Executor

GROUP = "whichbits.executors"

EXECUTORS: Registry[Executor] = Registry(
    "executor",
    "executor",
    GROUP,
    ("whichbits.studies.execution.executor", "Executor"),
    {
        "local": ("whichbits.studies.execution.local", "LocalExecutor"),
        "ray": ("whichbits.studies.execution.ray.executor", "RayExecutor"),
    },
)
