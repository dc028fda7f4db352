"""What a job says of its checkpoint, its model's code and its cores."""

from __future__ import annotations

import os
from pathlib import Path

from whichbits.schema.inputs import EngineLocal
from whichbits.studies.steps.step import Job

BATCH_TOKENS = 2048
"""Tokens in one forward pass of the emulation."""


def checkpoint_of(job: Job) -> Path:
    """Folder of the job's checkpoint: made by a step that it reads, or there already."""
    if "checkpoint" in job.reads:
        return job.reads["checkpoint"] / "checkpoint"
    ready = job.step.local_as(EngineLocal).checkpoint
    assert ready is not None, f"{job.step.kind} {job.step.key} has a checkpoint"
    return ready


def trust_remote_code(job: Job) -> bool:
    """Whether the specification lets Python code run that comes with the model."""
    return job.step.local.trust_remote_code


def threads(job: Job) -> int:
    """Threads for its arithmetic: one a core that it may use."""
    return len(job.cpus) if job.cpus is not None else len(os.sched_getaffinity(0))
