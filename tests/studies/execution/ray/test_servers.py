"""Servers as actors: at the node's own address, on record while they live, and gone with their actor."""

from __future__ import annotations

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
from whichbits.engines.vllm.defaults import Settings
from whichbits.studies.execution.servers import ConfiguredEngine
from whichbits.studies.steps.step import ServerFailed

ray = pytest.importorskip("ray")
checks = pytest.importorskip("whichbits.studies.execution.ray.checks")

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
def engine(cluster: Any, tmp_path: Path) -> Iterator[Any]:
    from whichbits.studies.execution.ray.servers import RayEngine

    (tmp_path / "engine.py").write_text(ENGINE)
    argv = (sys.executable, str(tmp_path / "engine.py"), "{model}", "{host}", "{port}")
    configured = ConfiguredEngine(EngineCommand(argv, "1", "ours"), Settings({}, {}, (), ()), tmp_path / "servers", 1)
    yield RayEngine(configured, checks.join(cluster.address), gpus=0)
    ray.shutdown()


def checkpoint(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def pid_of(folder: Path) -> int:
    deadline = time.monotonic() + 60
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int((folder / "pid").read_text())


def test_a_server_is_reached_at_its_node_and_ends_with_its_use(tmp_path: Path, engine: Any, gone: Callable[..., bool]):
    folder = checkpoint(tmp_path, "fine")
    assert engine.resident == 3
    with engine.serve("fine", folder, threading.Event()) as server:
        assert server.url.startswith(f"http://{engine.nodes[0].address}:")
        with urllib.request.urlopen(f"{server.url}/health", timeout=10) as answer:
            assert answer.status == 200
        assert server.failure() is None
        os.kill(pid_of(folder), signal.SIGSTOP)  # it is there, whatever it answers
        assert server.failure() is None
        os.kill(pid_of(folder), signal.SIGKILL)
        deadline = time.monotonic() + 20
        while server.failure() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "signal 9" in (server.failure() or "")
    assert gone([pid_of(folder)])


def test_a_server_that_does_not_come_up_says_why_and_one_that_starts_can_be_given_up(
    tmp_path: Path, engine: Any, gone: Callable[..., bool]
):
    broken = engine.serve("broken", checkpoint(tmp_path, "broken"), threading.Event())
    with pytest.raises(ServerFailed, match="no kernel for this format"), broken:
        pass
    folder, stopping = checkpoint(tmp_path, "slow"), threading.Event()
    threading.Thread(target=lambda: (pid_of(folder), stopping.set())).start()
    with pytest.raises(ServerFailed, match="stopped while it started"), engine.serve("slow", folder, stopping):
        pass
    assert gone([pid_of(folder)])


def test_a_server_ends_with_the_study_that_started_it(tmp_path: Path, engine: Any, gone: Callable[..., bool]):
    folder = checkpoint(tmp_path, "left")
    ray.get(engine._actor("left", folder).start.remote())
    pid = pid_of(folder)
    ray.shutdown()  # as when it is killed: Ray ends the actor, and nobody has stopped the engine
    assert gone([pid])
