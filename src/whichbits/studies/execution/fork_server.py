"""What the process that jobs are forked from imports first; imported by nothing else.

It ties that process to the runner that started it, and notes its import path, which holds no working directory.
"""

from __future__ import annotations

import os
import sys

from whichbits.core.processes import die_with_parent
from whichbits.studies.execution.processes import MARK

PID = os.getpid()
"""Process id of the process that jobs are forked from."""

PATH = tuple(sys.path)
"""Its import path."""

die_with_parent(int(os.environ[MARK].partition(" ")[0]))
