"""A process that has a share of some work whose results another process files."""

from __future__ import annotations

import shutil
import traceback
from collections import deque
from collections.abc import Sequence

from whichbits.studies.execution.executor import Work
from whichbits.studies.steps.step import Job, ProcessLost, StepContext


def run(work: Work, jobs: Sequence[Job], context: StepContext) -> int:
    """Run the work, and let go of what comes of it; the process's exit code.

    That of failure is for what was wrong here: where another process was lost, that one says why.
    """
    try:
        deque(work.run(jobs, context), maxlen=0)
    except ProcessLost:
        return 0
    except Exception:  # noqa: BLE001 - the boundary of a process: its log says what it was
        traceback.print_exc()
        return 1
    return 0


def taken_away(jobs: Sequence[Job]) -> str:
    """Remove the folders of jobs whose process has ended; the last line that it has printed."""
    log = jobs[0].directory / "log.txt"
    lines = log.read_text(encoding="utf-8").split("\n") if log.is_file() else []
    for job in jobs:
        shutil.rmtree(job.directory)
    return next((line.strip() for line in reversed(lines) if line.strip()), "it has printed nothing")
