"""A Ray cluster of three raylets on this machine, shared by the tests of this folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

KINDS = '''\
"""Kinds of steps that need no library, and a runner of a plan of them on the cluster."""

import os, signal, subprocess, sys, threading, time
from pathlib import Path

from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.executors import EXECUTORS
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.runner import Runner
from whichbits.studies.planning.plan import Plan, Served
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import Needs, Planned
from whichbits.studies.steps.step import Kind, Result
from whichbits.studies.store.store import Store

LIGHT = Needs(compute=False)


class Given(Inputs, extra="allow"):
    pass


class Found(Summary, kind="trial"):
    runs: int
    ray_worker: int
    cpus: int


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def trial(jobs, context):
    """Writes down where each of its runs was, then does what it is told: once, or each time."""
    for job in jobs:
        given = job.step.inputs
        child = subprocess.Popen(["sleep", "300"])
        runs = Path(given.folder) / given.name
        parent = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
        with runs.open("a") as file:
            file.write(f"{os.getpid()} {child.pid} {parent}\\n")
        count = len(lines(runs))
        context.progress(f"run {count} of {given.name}")
        print("printed by", given.name)
        if given.how == "die" and count <= given.times:
            os.kill(os.getpid(), signal.SIGKILL)
        if given.how == "lose the worker" and count <= given.times:
            os.kill(parent, signal.SIGKILL)
            time.sleep(60)
        if given.how == "together":
            deadline = time.monotonic() + 240
            while time.monotonic() < deadline and len(list(runs.parent.iterdir())) < given.times:
                time.sleep(0.05)
        if given.how == "sleep" and count <= given.times:
            time.sleep(120)
        child.kill()
        child.wait()
        yield job, Result(Found(runs=count, ray_worker=parent, cpus=len(job.cpus or ())))


class Seen(Summary, kind="asks"):
    address: str


def asks(jobs, context):
    """Asks its server, and stays until as many others ask theirs as it is told."""
    for job in jobs:
        given = job.step.inputs
        address = context.server(job.servers[0])
        (Path(given.folder) / given.name).write_text(address)
        deadline = time.monotonic() + 120
        while len(list(Path(given.folder).iterdir())) < given.times:
            assert time.monotonic() < deadline, "the others are not at work"
            time.sleep(0.05)
        yield job, Result(Seen(address=address))


class Observer:
    def __init__(self):
        self.heard = []
    def added(self, steps): ...
    def started(self, step): self.heard.append(("started", step.inputs.name))
    def progress(self, step, text): self.heard.append(("progress", text))
    def ended(self, step, state, seconds, error, addresses=()): self.heard.append((state, step.inputs.name, error))
    def note(self, text): self.heard.append(("note", text))


class NoServers:
    resident = 1
    starting = 1


def planned(folder, name, how="", times=0, needs=LIGHT):
    given = Given(folder=str(folder), name=name, how=how, times=times)
    return Planned(Step("trial", 1, given, labels=Labels(candidate=name)), needs)


def run(store, steps, address, engine=None, checkpoint=None, executor=None, machine=None, observer=None):
    """The states by name, and what the observer has heard; where there is an engine, `a` is served by it."""
    specification = Specification.model_validate({"version": 1, "name": "t", "model": "m", "candidates": ["x"]})
    plan = Plan(specification, "bf16", tuple(steps), {"a": Served("a", folder=checkpoint)})
    kinds = {run.__name__: Kind(run.__name__, 1, lambda study, before: iter(()), run) for run in (trial, asks)}
    executor, observer = executor or EXECUTORS.get("ray"), observer or Observer()
    executor.connect(address)
    with store.locked():
        machine = machine or Machine(serves=engine is not None)
        states = Runner(plan, store, kinds, executor, engine or NoServers(), observer, machine).run()
    return {one.step.inputs.name: states[one.step.key] for one in steps}, observer.heard


def main(folder, address):
    steps = [planned(folder, "quick"), planned(folder, "long", "sleep", 1)]
    print(run(Store(Path(folder) / "store"), steps, address)[0], flush=True)
'''


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module of kinds, which the nodes can import too."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "trial_kinds.py").write_text(KINDS)
    before = os.environ.get("PYTHONPATH", "")
    source = str(Path(__file__).parents[4] / "src")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), source, *before.split(os.pathsep)]).rstrip(os.pathsep)
    sys.path.insert(0, str(folder))
    import trial_kinds

    yield trial_kinds
    sys.path.remove(str(folder))
    os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def cluster(kinds: Any) -> Iterator[Any]:
    """Three nodes, each with as many processors as a step computes on; the first is the study's own, and lives."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": len(os.sched_getaffinity(0)), "object_store_memory": 80 * 2**20, "include_dashboard": False}
    seen = {
        "health_check_initial_delay_ms": 500,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 16,  # 8 s: on a busy machine a node is slow, and not gone
        "worker_niceness": 0,
    }
    made = Cluster(initialize_head=True, head_node_args={**node, "_system_config": seen})
    for _ in range(2):
        made.add_node(**node, wait=False)
    made.wait_for_nodes()
    made.added = node
    yield made
    made.shutdown()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="session")
def gone() -> Callable[[Sequence[int]], bool]:
    """Whether none of these processes lives any more, within some seconds."""
    import time

    def check(pids: Sequence[int]) -> bool:
        deadline = time.monotonic() + 60
        while any(map(lives, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not any(map(lives, pids))

    return check
