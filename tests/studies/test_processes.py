"""What a run starts ends with it, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BUSY = """\
import os, re, subprocess, sys, time
from pathlib import Path
from whichbits.schema.generate import GenerateSummary
from whichbits.schema.inputs import Inputs
from whichbits.studies.steps.step import Result

class Given(Inputs, extra="allow"):
    pass

def busy(jobs, context):
    started = [
        subprocess.Popen(["sleep", "300"]),
        subprocess.Popen(["sleep", "300"], env={}),  # without our mark
        subprocess.Popen(["sleep", "300"], start_new_session=True),
        subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 300; true"]),
    ]
    ids = [os.getpid(), os.getppid(), *(child.pid for child in started)]
    Path(jobs[0].step.inputs.pids).write_text(" ".join(map(str, ids)))
    match jobs[0].step.inputs.how:
        case "in C":
            re.search("(a+)+$", "a" * 64 + "b")  # C code that lets no other thread run, for ever
        case "deaf":
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(300)
        case "ends":
            yield jobs[0], Result(GenerateSummary(n=0, tokens=0))
"""

RUNNER = """\
import os, sys
from pathlib import Path
from busy import Given, busy
from whichbits.schema.step import Step
from whichbits.studies.execution.executor import Work
from whichbits.studies.execution.local import LocalExecutor
from whichbits.studies.execution.placement import Machine
from whichbits.studies.steps.planned import Planned
from whichbits.studies.store.store import Store

class Study:
    store = Store(Path(sys.argv[1]))
    machine, preload = Machine(), ()
    def started(self, step): ...

Study.store.folder.mkdir()
executor = LocalExecutor()
executor.start(Study())
print(os.getpid(), executor._processes.keeper.pid, flush=True)
step = Step("busy", 1, Given(how=sys.argv[2], pids=str(Study.store.folder / "pids")))
print(executor.submit(Work(busy, (Planned(step),)))[0].result(), flush=True)
executor.stop()
print("stopped", flush=True)
"""


def living(pids: list[int]) -> list[int]:
    """Those of the processes that live; one that waits to be reaped does not."""

    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return [pid for pid in pids if lives(pid)]


def until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def start(tmp_path: Path):
    """Starts a runner of one job, and gives it with the ids of its processes."""
    (tmp_path / "busy.py").write_text(BUSY)
    source = Path(__file__).parents[2] / "src"
    started: list[int] = []

    def begin(how: str) -> tuple[subprocess.Popen[str], list[int]]:
        runner = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(tmp_path / "store"), how],
            env={**os.environ, "PYTHONPATH": f"{source}:{tmp_path}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert runner.stdout is not None
        own = [int(word) for word in runner.stdout.readline().split()]
        pids = tmp_path / "store" / "pids"
        assert until(lambda: pids.exists() and pids.read_text())
        ids = [own[1], *(int(word) for word in pids.read_text().split())]
        started.extend([own[0], *ids])
        return runner, ids

    yield begin
    for pid in living(started):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["in C", "deaf"])
def test_kill_of_the_runner_ends_all_that_it_and_its_jobs_have_started(start, how: str):
    runner, ids = start(how)
    time.sleep(0.3)
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    assert until(lambda: not living(ids)), living(ids)


def test_a_job_ends_with_the_process_that_it_was_forked_from_even_without_a_keeper(start):
    runner, (keeper, job, fork_server, *_) = start("in C")
    os.kill(keeper, signal.SIGKILL)
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    assert until(lambda: not living([job, fork_server]), 5.0)


def test_a_run_that_ends_well_leaves_nothing(start):
    runner, (keeper, job, fork_server, *_) = start("ends")
    assert runner.stdout is not None
    assert "stopped" in runner.stdout.read()
    runner.wait()
    assert until(lambda: not living([keeper, job, fork_server]), 5.0)
