"""An executor that another package brings runs a whole study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

EXECUTOR = '''\
"""Runs all work in threads of the study's own process, and writes down what it has run."""

from concurrent.futures import Future, ThreadPoolExecutor

from whichbits.studies.execution.executor import Executor, StepFailed
from whichbits.studies.execution.worker import jobs_of, run_work


class Context:
    def __init__(self, services, job):
        self.services, self.job = services, job

    def progress(self, text):
        self.services.progress(self.job.step, text)

    def server(self, name):
        return self.services.server(name)

    def server_failure(self, name):
        return self.services.server_failure(name)

    def server_silent(self, name):
        self.services.server_silent(name)


class Threads(Executor):
    def start(self, services):
        self.services, self.pool = services, ThreadPoolExecutor(1)

    def submit(self, work):
        futures = {planned.step.key: Future() for planned in work.steps}
        self.pool.submit(self.run, work, futures)
        return tuple(futures.values())

    def run(self, work, futures):
        store = self.services.store
        try:
            jobs = jobs_of(work, store, None)
            for planned in work.steps:
                self.services.started(planned.step)
            for planned, outcome in run_work(work, jobs, store, Context(self.services, jobs[0])):
                with (store.folder / "threads.txt").open("a") as file:
                    file.write(planned.step.kind + "\\n")
                if isinstance(outcome, StepFailed):
                    futures[planned.step.key].set_exception(outcome)
                else:
                    futures[planned.step.key].set_result(outcome)
        except BaseException as error:
            for future in futures.values():
                if not future.done():
                    future.set_exception(error)

    def stop(self):
        self.pool.shutdown()
'''

SPECIFICATION = """\
version: 1
name: outside
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: order, limit: 6}}]
base_repeats: 1
max_length: 128
"""


def test_an_executor_from_another_package_runs_a_study(tmp_path: Path, tiny_llama: Path):
    package = tmp_path / "site" / "threads-1.0.dist-info"
    package.mkdir(parents=True)
    (tmp_path / "site" / "own_threads.py").write_text(EXECUTOR)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: threads\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[whichbits.executors]\nthreads = own_threads:Threads\n")
    (tmp_path / "spec.yaml").write_text(SPECIFICATION.format(model=tiny_llama))
    path = os.pathsep.join(
        str(Path(entry).resolve()) for entry in [str(tmp_path / "site"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    )

    def study(executor: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--executor", executor, "--json"],
            cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip

    done = study("threads")
    assert done.returncode == 0, done.stderr
    assert [task["task"] for task in json.loads(done.stdout)["tasks"]] == ["order"]
    ran = (tmp_path / "studies" / "outside" / "threads.txt").read_text().split()
    assert sorted(ran) == ["evaluate", "evaluate", "quantize"]
    none = study("thread")
    assert none.returncode == 2
    assert "executor" in none.stderr
    assert "threads" in none.stderr
