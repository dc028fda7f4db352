"""A cluster of three nodes: work, servers and a whole study on it, and what is lost while they run.

One file, so that the cluster is started once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as parquet
import pytest

import whichbits
from benchmarks.interrupted import finished, kill_with_children, processes_of
from whichbits.core.errors import UserError
from whichbits.engines.vllm.command import EngineCommand
from whichbits.engines.vllm.server_arguments import Settings
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.studies.execution.executor import Work
from whichbits.studies.execution.servers import ConfiguredEngine
from whichbits.studies.planning.plan import Served
from whichbits.studies.steps.planned import COMPUTE, Planned, client, measurement, replica
from whichbits.studies.steps.step import ServerFailed
from whichbits.studies.store.object_store import LARGE
from whichbits.studies.store.place import open_store
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


def test_nodes_that_join_are_examined_before_work_goes_to_them_and_counted(
    tmp_path: Path, cluster: Any, kinds: Any, monkeypatch: pytest.MonkeyPatch
):
    """More steps than fit wait for each other: the last of them runs on the node that joins and may be used."""
    from whichbits.studies.execution.ray import executor as module

    monkeypatch.setattr(module, "WATCH_S", 0.5)
    cores = len(os.sched_getaffinity(0))
    count = 3 * cores + 1
    asked = tmp_path / "asked"
    asked.mkdir()
    steps = [kinds.planned(asked, f"together {number}", "together", count) for number in range(count)]
    executor, observer, added = module.RayExecutor(), kinds.Observer(), []

    def noted(text: str) -> int:
        return sum(text in words[1] for words in observer.heard if words[0] == "note")

    store = Store(tmp_path / "store")
    with ThreadPoolExecutor(1) as pool:  # nodes are added by the main thread
        running = pool.submit(kinds.run, store, steps, cluster.address, executor=executor, observer=observer)
        until(lambda: len(list(asked.iterdir())) == count - 1)
        added.append(cluster.add_node(**{**cluster.added, "num_cpus": cores - 1}, wait=False))
        until(lambda: noted(f"offers {cores - 1} processors"))
        time.sleep(3.0)
        assert len(list(asked.iterdir())) == count - 1, "the node that was refused got work"
        added.append(cluster.add_node(**cluster.added, wait=False))
        states, _ = running.result()
    assert set(states.values()) == {"done"}
    assert [noted(text) for text in ("it gets no work", "has joined", "lost: ")] == [1, 1, 0]
    assert executor.places() == 4
    for one in added:
        cluster.remove_node(one)


def test_what_no_node_can_hold_fails_in_time_and_the_rest_goes_on(
    tmp_path: Path, cluster: Any, kinds: Any, monkeypatch: pytest.MonkeyPatch
):
    from whichbits.studies.execution.placement import Machine
    from whichbits.studies.execution.ray import executor as module

    monkeypatch.setattr(module, "WATCH_S", 0.5)
    monkeypatch.setattr(module, "UNPLACED_S", 2.0)
    steps = [kinds.planned(tmp_path, "computes", needs=COMPUTE), kinds.planned(tmp_path, "light")]
    store = Store(tmp_path / "store")
    machine = Machine(accelerator=True, serves=False)  # and no node has one
    states, _ = kinds.run(store, steps, cluster.address, machine=machine)
    assert states == {"computes": "failed", "light": "done"}
    assert "1 GPUs for 2 s" in (store.record(steps[0].step).error or "")


def node(name: str, cpus: float = 2.0) -> Any:
    return checks.Node(name, "10.0.0.2", cpus, gpus=0.0)


def test_work_goes_to_none_of_the_nodes_where_it_was_lost_while_there_is_another(kinds: Any, configured: ConfiguredEngine):
    from whichbits.studies.execution.placement import Machine
    from whichbits.studies.execution.ray.executor import RayExecutor
    from whichbits.studies.execution.ray.members import Members
    from whichbits.studies.execution.ray.piece import Piece
    from whichbits.studies.execution.ray.servers import RayEngine

    class Study:
        machine = Machine()

    executor = RayExecutor()
    executor._services, executor._cores = Study(), 2  # type: ignore[assignment]
    executor._members = members = Members([node("a"), node("b"), node("c"), node("large", 4.0)], None, None, print)  # type: ignore[arg-type]
    piece = Piece(Work(kinds.trial, (kinds.planned("", "x", needs=COMPUTE),)), {})
    piece.avoided = {"a", "b"}
    members._there = (node("b"), node("c"))  # the first is dead
    assert executor._wanted(piece) == {"c"}
    members._there = (node("b"), node("stranger"))
    assert executor._wanted(piece) == {"b"}, "there is no other"
    session = Piece(Work(kinds.trial, (kinds.planned("", "x", needs=measurement("a")),)), {})
    executor._engine = RayEngine(configured, members, gpus=0)
    members._there = (node("b"), node("c"), node("large", 4.0))
    assert executor._wanted(session) == {"large"}
    session.avoided = {"large"}
    assert executor._wanted(session) == {"b", "c"}
    session.avoided = set()
    members._there = (node("b"), node("c"))
    assert executor._wanted(session) == {"b", "c"}
    members._there = ()
    assert executor._wanted(session) == set()
    spanning = replace(configured, settings=replace(configured.settings, arguments={"nnodes": 2}))
    executor._engine = RayEngine(spanning, members, gpus=0)
    members._there = (node("b"),)
    assert executor._wanted(session) == set(), "a server spans two"
    members._there = (node("b", 1.0), node("c"), node("large", 4.0))
    assert executor._wanted(session) == {"c", "large"}


def start(tmp_path: Path, cluster: Any) -> subprocess.Popen[str]:
    said = f"import trial_kinds; trial_kinds.main({str(tmp_path)!r}, {cluster.address!r})"
    command = [sys.executable, "-c", said]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Any, seconds: float = 180.0) -> None:
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
    driver.wait(120)
    assert gone(pids(long))
    again = start(tmp_path, cluster)
    said, wrong = again.communicate(timeout=300)
    assert said == "{'quick': 'done', 'long': 'done'}\n", wrong
    assert len((tmp_path / "quick").read_text().splitlines()) == 1
    assert list((tmp_path / "store" / "partial").glob("*")) == []


@pytest.fixture
def connected(cluster: Any) -> Iterator[None]:
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()


class Elsewhere(Store):
    """A store whose address is another folder for each process."""

    address = "/proc/self/cwd"


def test_nodes_are_examined_and_one_that_cannot_reach_the_store_is_refused_by_name(
    tmp_path: Path, connected: None, monkeypatch: pytest.MonkeyPatch
):
    found, own = checks.nodes(), checks.examine(None)
    assert len(found) == 3
    assert found[0].cpus == len(os.sched_getaffinity(0))
    for one, examined in checks.examine_nodes(found, Store(tmp_path)):
        assert (examined.software, examined.engine, examined.store) == (own.software, own.engine, None)
        assert examined.skew_s == 0.0
        checks.check_node(one, examined, own=own, store=Store(tmp_path), cores=1, serves=True)
    assert list(tmp_path.iterdir()) == []
    ((_, silent),) = checks.examine_nodes([node("e" * 56)], Store(tmp_path))
    assert isinstance(silent, checks.NoAnswer)
    monkeypatch.chdir(tmp_path)
    elsewhere = Elsewhere(tmp_path)
    first, examined = next(iter(checks.examine_nodes(found, elsewhere)))
    with pytest.raises(UserError, match=rf"node {first.address} .* cannot use the store .* is not seen"):
        checks.check_node(first, examined, own=own, store=elsewhere, cores=1, serves=True)


def test_doctor_examines_the_cluster(tmp_path: Path, cluster: Any):
    found = whichbits.doctor_cluster(cluster.address, store=tmp_path / "store")
    assert [check.status for check in found] == ["ok"] * 3


# Servers

ENGINE = """\
import http.server, json, os, sys

checkpoint, host, port = sys.argv[1:4]
with open(checkpoint + "/pid", "w") as file:
    file.write(str(os.getpid()))
if checkpoint.endswith("broken"):
    sys.exit("no kernel for this format")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": checkpoint}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

if not checkpoint.endswith("slow"):
    http.server.HTTPServer((host, int(port)), Handler).serve_forever()
import time
time.sleep(300)
"""


@pytest.fixture
def configured(tmp_path: Path) -> ConfiguredEngine:
    (tmp_path / "engine.py").write_text(ENGINE)
    argv = (sys.executable, str(tmp_path / "engine.py"), "{model}", "{host}", "{port}")
    return ConfiguredEngine(EngineCommand(argv, "1", "ours"), Settings({}, {}, (), ()), tmp_path / "servers", 1)


@pytest.fixture
def engine(cluster: Any, configured: ConfiguredEngine) -> Iterator[Any]:
    from whichbits.studies.execution.ray.members import Members
    from whichbits.studies.execution.ray.servers import RayEngine

    members = Members(checks.join(cluster.address), Store(configured.logs.parent / "store"), lambda *_: None, print)
    yield RayEngine(configured, members, gpus=0)
    ray.shutdown()


def checkpoint(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def serve(engine: Any, tmp_path: Path, name: str, stopping: threading.Event | None = None) -> Any:
    """A server of the checkpoint of this name."""
    return engine.serve(name, Served(name, tmp_path / name), Store(tmp_path / "store"), stopping or threading.Event())


def pid_of(folder: Path) -> int:
    deadline = time.monotonic() + 180
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int((folder / "pid").read_text())


def test_a_server_is_reached_at_its_node_and_ends_with_its_use(tmp_path: Path, engine: Any, gone: Callable[..., bool]):
    folder = checkpoint(tmp_path, "fine")
    assert engine.resident == 3
    with serve(engine, tmp_path, "fine") as server:
        assert server.url.startswith(f"http://{engine.members.living[0].address}:")
        with urllib.request.urlopen(f"{server.url}/health", timeout=60) as answer:
            assert answer.status == 200
        assert server.failure() is None
        os.kill(pid_of(folder), signal.SIGSTOP)  # it is there, whatever it answers
        assert server.failure() is None
        os.kill(pid_of(folder), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while server.failure() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "signal 9" in (server.failure() or "")
    assert gone([pid_of(folder)])


def test_a_server_that_does_not_come_up_says_why_and_one_that_starts_can_be_given_up(
    tmp_path: Path, engine: Any, gone: Callable[..., bool]
):
    checkpoint(tmp_path, "broken")
    broken = serve(engine, tmp_path, "broken")
    with pytest.raises(ServerFailed, match="no kernel for this format"), broken:
        pass
    folder, stopping = checkpoint(tmp_path, "slow"), threading.Event()
    threading.Thread(target=lambda: (pid_of(folder), stopping.set())).start()
    with (
        pytest.raises(ServerFailed, match="stopped while it started"),
        serve(engine, tmp_path, "slow", stopping),
    ):
        pass
    assert gone([pid_of(folder)])


def test_a_node_with_a_cache_of_its_own_fetches_what_it_serves_and_its_log_comes_back(
    tmp_path: Path, s3: object, cluster: Any, kinds: Any, configured: ConfiguredEngine, monkeypatch: pytest.MonkeyPatch
):
    """As with a store in S3 and machines that share no folder: the checkpoint's large file is on the node alone."""
    from whichbits.studies.execution.ray.members import Members
    from whichbits.studies.execution.ray.servers import RayEngine

    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "made"))
    step, address = kinds.planned(tmp_path, "made").step, f"s3://studies/{tmp_path.name}"
    maker = open_store(address)
    partial = maker.partial(step)
    (partial / "checkpoint").mkdir()
    (partial / "checkpoint" / "weights").write_bytes(bytes(LARGE + 1))
    maker.finish(step, partial, kinds.Found(runs=1, ray_worker=0, cpus=0), Provenance())
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "driver"))
    driver = open_store(address)
    assert driver.done(step)

    before = {one["NodeID"] for one in ray_nodes(cluster)}
    added = cluster.add_node(**cluster.added, env_vars={**aws, "WHICHBITS_CACHE": str(tmp_path / "node")})
    there = [one for one in checks.join(cluster.address) if one.id not in before]
    engine = RayEngine(replace(configured, logs=driver.folder / "servers"), Members(there, driver, lambda *_: None, print), 0)
    try:
        with engine.serve("a", Served("a", made_by=step), driver, threading.Event()) as server:
            with urllib.request.urlopen(f"{server.url}/v1/models", timeout=60) as answer:
                served = json.loads(answer.read())["data"][0]["id"]
            assert Path(served).is_relative_to(tmp_path / "node")
            assert (Path(served) / "weights").stat().st_size == LARGE + 1
        assert list((tmp_path / "driver").rglob("weights")) == []
        assert "GET /v1/models" in (driver.folder / "servers" / "a.txt").read_text()
    finally:
        ray.shutdown()
        cluster.remove_node(added)


def ray_nodes(cluster: Any) -> list[dict[str, Any]]:
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        return ray.nodes()
    finally:
        ray.shutdown()


def test_a_server_that_no_node_can_hold_fails_in_time(tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch):
    from whichbits.studies.execution.ray import servers

    monkeypatch.setattr(servers, "UNPLACED_S", 1.0)
    engine.gpus = 1
    with (
        pytest.raises(ServerFailed, match="1 GPUs for a server for 1 s"),
        serve(engine, tmp_path, "a"),
    ):
        pass


def test_a_server_ends_with_the_study_that_started_it(tmp_path: Path, engine: Any, gone: Callable[..., bool]):
    folder = checkpoint(tmp_path, "left")
    (actor,) = engine._actors("left", Served("left", folder), Store(tmp_path), engine._able(), None)
    ray.get(actor.start.remote())
    pid = pid_of(folder)
    ray.shutdown()  # as when it is killed: Ray ends the actor, and nobody has stopped the engine
    assert gone([pid])


def test_shards_of_one_candidate_ask_servers_of_their_own_at_once(
    tmp_path: Path, cluster: Any, kinds: Any, configured: ConfiguredEngine
):
    (tmp_path / "asked").mkdir()
    given = {"folder": str(tmp_path / "asked"), "how": "", "times": 3}
    steps = [
        Planned(Step("asks", 1, kinds.Given(name=name, **given)), client(name)) for name in (replica("a", n) for n in range(3))
    ]
    store = Store(tmp_path / "store")
    states, _ = kinds.run(store, steps, cluster.address, configured, checkpoint(tmp_path, "fine"))
    assert states == {"a": "done", "a#2": "done", "a#3": "done"}
    assert len({store.record(one.step).found(kinds.Seen).address for one in steps}) == 3
    assert {path.name for path in (tmp_path / "servers").iterdir()} == {"a.txt", "a#2.txt", "a#3.txt"}


# A whole study

SPECIFICATION = """\
version: 1
name: cluster
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: order, limit: 6}}]
similarity: {{limit: 2, max_tokens: 8, windows: 2, window_tokens: 64, measures: [kl]}}
base_repeats: 1
max_length: 128
"""


def raylet_of(process: psutil.Process, raylets: Iterable[int]) -> int | None:
    """The raylet below which a step's process runs; None of others."""
    try:
        above = {one.pid for one in process.parents()} if os.getsid(process.pid) == process.pid else set()
    except (psutil.Error, ProcessLookupError):
        return None
    return next((raylet for raylet in raylets if raylet in above), None)


def study(folder: Path, store: str, *options: str) -> subprocess.Popen[str]:
    """The study of `spec.yaml` in a folder, which runs."""
    command = [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--store", store, *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_a_node_at_work(cluster: Any, store: Path, study: subprocess.Popen[str]) -> None:
    """Kill the raylet of a node that a step runs on, not the first, and all that it has started."""
    raylets = {one.all_processes["raylet"][0].process.pid: one for one in cluster.list_all_nodes() if not one.head}
    while study.poll() is None:
        for raylet in filter(None, (raylet_of(process, raylets) for process in processes_of(store))):
            kill_with_children(raylet)
            cluster.remove_node(raylets[raylet], allow_graceful=False)
            return
        time.sleep(0.02)
    pytest.fail("the study has ended before a node could be killed")


@pytest.mark.nightly  # another study loses a node below
def test_a_study_that_loses_a_node_ends_as_on_one_machine(tmp_path: Path, tiny_llama: Path, cluster: Any, gone: Any):
    pytest.importorskip("lm_eval")
    (tmp_path / "spec.yaml").write_text(SPECIFICATION.format(model=tiny_llama))

    there = study(tmp_path, "there", "--executor", "ray", "--address", cluster.address)
    kill_a_node_at_work(cluster, tmp_path / "there", there)
    said = there.communicate(timeout=300)[0]
    cluster.add_node(**cluster.added)
    assert there.returncode == 0, said
    assert "lost: " in (tmp_path / "there" / "run.log").read_text()
    assert gone([process.pid for process in processes_of(tmp_path / "there")])
    here = study(tmp_path, "here")
    assert here.communicate(timeout=300)[0]
    assert here.returncode == 0
    found = finished(tmp_path / "there")
    assert {step.kind for step in found.values()} == {"quantize", "evaluate", "distribution"}
    assert found == finished(tmp_path / "here")


SHARDED = """\
version: 1
name: sharded
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: order, limit: 400}}]
base_repeats: 1
max_length: 128
"""


def at_work_at_once(cluster: Any, store: Path, study: subprocess.Popen[str], kind: str, count: int) -> dict[int, Any]:
    """Nodes that are at work at once on steps of a kind, by the process of their raylet: so many at least."""
    raylets = {one.all_processes["raylet"][0].process.pid: one for one in cluster.list_all_nodes()}
    while study.poll() is None:
        begun = list((store / "partial").glob(f"{kind}-*"))
        found = {raylet_of(process, raylets) for process in processes_of(store)} - {None}
        if len(begun) >= count and len(found) >= count:
            return {raylet: raylets[raylet] for raylet in found}
        time.sleep(0.02)
    pytest.fail(f"no {count} nodes were at work at once")


def without_a_node(cluster: Any, store: Path, study: subprocess.Popen[str], kind: str, count: int) -> None:
    """Lose a node while so many are at work on steps of a kind: the study ends well without it, and another joins."""
    at_work = at_work_at_once(cluster, store, study, kind, count)
    raylet, node = next((raylet, node) for raylet, node in at_work.items() if not node.head)
    kill_with_children(raylet)
    cluster.remove_node(node, allow_graceful=False)
    said = study.communicate(timeout=300)[0]
    cluster.add_node(**cluster.added)
    assert study.returncode == 0, said


def test_one_long_evaluation_runs_on_several_nodes_one_of_which_is_lost(
    tmp_path: Path, tiny_llama: Path, cluster: Any, gone: Any
):
    pytest.importorskip("lm_eval")
    (tmp_path / "spec.yaml").write_text(SHARDED.format(model=tiny_llama))

    there = study(tmp_path, "there", "--executor", "ray", "--address", cluster.address)
    without_a_node(cluster, tmp_path / "there", there, "evaluate_shard", 2)
    assert gone([process.pid for process in processes_of(tmp_path / "there")])
    here = study(tmp_path, "here")
    assert here.communicate(timeout=300)[0]
    assert here.returncode == 0
    assert finished(tmp_path / "there") == finished(tmp_path / "here")
    log = (tmp_path / "there" / "run.log").read_text()
    assert "shard 3 of 3" in log and "lost: " in log


SHARED = """\
version: 1
name: shared
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{rounding: gptq, calibration: {{source: random, samples: 80, length: 128}}}}, run: emulated}}
max_length: 128
"""


@pytest.mark.nightly
def test_nodes_share_the_samples_of_a_calibrated_pass_and_one_is_lost(
    tmp_path: Path, tiny_llama: Path, cluster: Any, gone: Any
):
    """The pass runs again on those that are left."""
    text = SHARED.format(model=tiny_llama)
    (tmp_path / "spec.yaml").write_text(f"{text}executor: {{name: ray, address: '{cluster.address}', nodes: 3}}\n")

    there = study(tmp_path, "there")
    without_a_node(cluster, tmp_path / "there", there, "quantize", 3)
    assert "attempt 2 of 3" in (tmp_path / "there" / "run.log").read_text()
    assert gone([process.pid for process in processes_of(tmp_path / "there")])
    (tmp_path / "spec.yaml").write_text(text)
    here = study(tmp_path, "here")
    assert here.communicate(timeout=300)[0]
    assert here.returncode == 0
    steps = [sorted(path.name for path in (tmp_path / store / "steps" / "quantize").iterdir()) for store in ("there", "here")]
    assert steps[0] == steps[1], "the key says nothing of nodes"
    errors = []
    for store in ("there", "here"):
        items = parquet.read_table(tmp_path / store / "steps" / "quantize" / steps[0][0] / "items.parquet").to_pydict()
        errors.append(dict(zip(items["module"], items["error"], strict=True)))
    assert errors[0] == pytest.approx(errors[1], rel=0.01)
