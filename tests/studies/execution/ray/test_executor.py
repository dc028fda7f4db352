"""Work on a cluster: a process of its own each, run again elsewhere where it is lost, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whichbits
from whichbits.core.errors import UserError
from whichbits.studies.steps.planned import COMPUTE
from whichbits.studies.store.store import Store

ray = pytest.importorskip("ray")
checks = pytest.importorskip("whichbits.studies.execution.ray.checks")

TRIES = 3


def pids(path: Path) -> list[int]:
    return [int(word) for line in path.read_text().splitlines() for word in line.split()[:2]]


def test_lost_work_runs_again_and_work_that_is_lost_three_times_fails_alone(
    tmp_path: Path, cluster: Any, kinds: Any, gone: Any
):
    steps = [
        kinds.planned(tmp_path, "computes", needs=COMPUTE),
        kinds.planned(tmp_path, "once", "die", 1),
        kinds.planned(tmp_path, "worker", "lose the worker", 1),
        kinds.planned(tmp_path, "always", "die", TRIES + 1),
    ]
    store = Store(tmp_path / "store")
    states, heard = kinds.run(store, steps, cluster.address)
    assert states == {"computes": "done", "once": "done", "worker": "done", "always": "failed"}
    found = {step.step.inputs.name: store.record(step.step).summary for step in steps[:3]}
    assert [found[name].runs for name in ("computes", "once", "worker")] == [1, 2, 2]
    assert found["computes"].cpus == len(os.sched_getaffinity(0))
    assert "3 times" in (store.record(steps[3].step).error or "")
    assert (store.failure(steps[3].step) / "log.txt").read_text() == "printed by always\n"
    assert len((tmp_path / "always").read_text().splitlines()) == TRIES
    # A lost piece of work goes to another node, whose workers are others.
    workers = [line.split()[2] for line in (tmp_path / "always").read_text().splitlines()]
    assert len(set(workers)) == TRIES
    assert ("progress", "run 1 of computes") in heard
    assert sum(kind == "note" for kind, *_ in heard) == 4
    assert gone([pid for step in steps for pid in pids(tmp_path / step.step.inputs.name)])


def start(tmp_path: Path, cluster: Any) -> subprocess.Popen[str]:
    said = f"import trial_kinds; trial_kinds.main({str(tmp_path)!r}, {cluster.address!r})"
    command = [sys.executable, "-c", said]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_or_stopped_leaves_nothing_and_the_next_goes_on(
    tmp_path: Path, cluster: Any, kinds: Any, gone: Any, number: signal.Signals
):
    long, store = tmp_path / "long", Store(tmp_path / "store")
    driver = start(tmp_path, cluster)
    quick = kinds.planned(tmp_path, "quick").step
    until(lambda: long.exists() and long.read_text().endswith("\n") and store.done(quick))
    driver.send_signal(number)
    driver.wait(30)
    assert gone(pids(long))
    again = start(tmp_path, cluster)
    said, wrong = again.communicate(timeout=60)
    assert said == "{'quick': 'done', 'long': 'done'}\n", wrong
    assert len((tmp_path / "quick").read_text().splitlines()) == 1
    assert list((tmp_path / "store" / "partial").glob("*")) == []


@pytest.fixture
def connected(cluster: Any) -> Iterator[None]:
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()


def test_nodes_are_examined_and_one_that_cannot_reach_the_store_is_refused_by_name(
    tmp_path: Path, connected: None, monkeypatch: pytest.MonkeyPatch
):
    found, own = checks.nodes(), checks.examine(None)
    assert len(found) == 3
    assert found[0].cpus == len(os.sched_getaffinity(0))
    for node, examined in checks.examine_nodes(found, tmp_path):
        assert (examined.software, examined.engine, examined.store) == (own.software, own.engine, None)
        assert examined.skew_s == 0.0
        checks.check_node(node, examined, own, tmp_path, cores=1, serves=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    elsewhere = Path("/proc/self/cwd")  # for each process another folder
    node, examined = next(checks.examine_nodes(found, elsewhere))
    with pytest.raises(UserError, match=rf"node {node.address} .* cannot use the store .*: No such file"):
        checks.check_node(node, examined, own, elsewhere, cores=1, serves=True)


def test_doctor_examines_the_cluster(tmp_path: Path, cluster: Any):
    found = whichbits.doctor_cluster(cluster.address, store=tmp_path / "store")
    assert [check.status for check in found] == ["ok"] * 3
