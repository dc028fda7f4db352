"""What a job says of its checkpoint, its model's code and its cores."""

from __future__ import annotations

import os
from pathlib import Path

from whichbits.studies.steps.step import Job

BATCH_TOKENS = 2048
"""Tokens in one forward pass of the emulation."""


def checkpoint_of(job: Job, role: str = "checkpoint") -> Path:
    """Folder of a checkpoint: made by a step that the job reads, or there already."""
    return job.reads[role] / "checkpoint" if role in job.reads else Path(job.step.local[role])


def trust_remote_code(job: Job) -> bool:
    """Whether the specification lets Python code run that comes with the model."""
    return bool(job.step.local.get("trust_remote_code"))


def threads(job: Job) -> int:
    """Threads for its arithmetic: one a core that it may use."""
    return len(job.cpus) if job.cpus is not None else len(os.sched_getaffinity(0))
