"""A runner that is killed leaves no process, and the next run goes on."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path


def test_kill_of_the_runner_ends_its_steps_and_the_next_run_goes_on(tmp_path: Path):
    (tmp_path / "study_of_sleep.py").write_text(
        textwrap.dedent(
            """
            import os, subprocess, sys, time
            from pathlib import Path
            from whichbits.schema.inputs import Inputs
            from whichbits.schema.step import Step
            from whichbits.schema.summary import Summary
            from whichbits.studies.execution.local import LocalExecutor
            from whichbits.studies.steps.step import Kind, Result
            from whichbits.studies.planning.plan import Plan
            from whichbits.studies.steps.planned import Planned
            from whichbits.studies.execution.runner import Runner
            from whichbits.studies.specification.schema import Specification
            from whichbits.studies.store.store import Store

            class Given(Inputs, extra="allow"):
                pass

            class Slept(Summary, kind="sleep"):
                pass

            class Quiet:
                def added(self, steps): ...
                def started(self, step): print("started", step.inputs.n, flush=True)
                def progress(self, step, text): print("pid", text, flush=True)
                def ended(self, step, state, seconds, error, addresses=()): print(state, step.inputs.n, flush=True)
                def note(self, text): ...

            class NoServers:
                resident = 1
                starting = 1

            def sleep(jobs, context):
                for job in jobs:
                    child = subprocess.Popen(["sleep", "300"]) if job.step.inputs.n == 1 else None
                    context.progress(f"{os.getpid()} {child.pid if child else ''}")
                    time.sleep(job.step.inputs.n * float(sys.argv[2]))
                    yield job, Result(Slept())

            def main():
                spec = Specification.model_validate({"version": 1, "name": "t", "model": "m", "candidates": ["x"]})
                steps = tuple(Planned(Step("sleep", 1, Given(n=n))) for n in range(2))
                store = Store(Path(sys.argv[1]))
                plan, kinds = Plan(spec, "bf16", steps, {}), {"sleep": Kind("sleep", 1, lambda study, before: iter(()), sleep)}
                with store.locked():
                    Runner(plan, store, kinds, LocalExecutor(), NoServers(), Quiet()).run()
            """
        )
    )
    # A script as people write it: without `if __name__ == "__main__"`, and yet no step's process runs it anew.
    (tmp_path / "script.py").write_text("import study_of_sleep\nprint('script', flush=True)\nstudy_of_sleep.main()\n")
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "store")]
    process = subprocess.Popen([*command, "120"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.split())
        slow = [words for words in lines if words[0] == "pid" and len(words) == 3]
        if slow and ["done", "0"] in lines:
            break
    assert slow, lines
    _, worker, child = slow[0]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while (left := [pid for pid in (worker, child) if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left  # neither the step's process nor what it had started
    again = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=60, check=True)
    assert "done 1" in again.stdout
    assert again.stdout.count("script") == 1
    assert "started 0" not in again.stdout
