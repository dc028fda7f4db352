"""Fixtures of the engines' tests: quantized tiny checkpoints, one served BF16 model, and a toy server to kill."""

from __future__ import annotations

import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.engines.vllm.command import EngineCommand, find_vllm
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.hardware.this_machine import describe, processors
from whichbits.models.configuration import read_configuration

LENGTH = 512

# Answers as a server does, has a child and a grandchild, and ends as its command line says.
TOY = """
import http.server, json, os, subprocess, sys, threading, time
open(os.path.join(os.environ["VLLM_RPC_BASE_PATH"], "socket"), "w").close()
port, behaviour = int(sys.argv[2]), sys.argv[3]
if behaviour == "refuse":
    print("(EngineCore pid=7) ERROR 11-22 10:00:00 [core.py:946] Traceback (most recent call last):")
    print("(EngineCore pid=7) ERROR 11-22 10:00:00 [core.py:946] ValueError: no kernel for this format")
    raise RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
if behaviour == "hang":
    print("INFO 11-22 10:00:00 [loader.py:1] still loading", flush=True); time.sleep(600)
# A grandchild in a session of its own: out of reach for whoever kills by process group or session.
subprocess.Popen([sys.executable, "-c", "import subprocess, sys, time; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": "toy"}]}).encode())
        if self.path == "/crash":
            print("ValueError: the toy was asked to crash", flush=True); os._exit(3)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], EngineCommand]:
    """Command of a server that needs no vLLM: `serve`, `refuse` or `hang`."""
    script = tmp_path_factory.mktemp("toy") / "toy.py"
    script.write_text(TOY)
    return lambda behaviour: EngineCommand((sys.executable, str(script), "{model}", "{port}", behaviour), "1", "toy")


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Callable[[str], Path]:
    """Folder of the tiny model in a format, made once."""
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Recipe

    folder = tmp_path_factory.mktemp("quantized")

    def make(name: str) -> Path:
        if not (folder / name).exists():
            quantize_checkpoint(tiny_llama, get(name), Recipe(), folder / name)
        return folder / name

    return make


@pytest.fixture(scope="session")
def vllm() -> EngineCommand:
    """The command of the installed vLLM."""
    try:
        return find_vllm()
    except UserError as error:
        pytest.skip(f"needs vLLM: {error.message}")


@pytest.fixture(scope="session")
def serve(vllm: EngineCommand, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """The tiny BF16 model, served by vLLM once for all tests; again where a test has ended it."""
    settings = serving_settings(describe(), read_configuration(tiny_llama).kv_bytes_per_token, max_length=LENGTH)
    started: list[Server] = []
    with ExitStack() as stack:

        def running() -> Server:
            if not started or started[-1].failure() is not None:
                folder = tmp_path_factory.mktemp("served")
                server = Server(
                    vllm,
                    tiny_llama,
                    arguments=settings.arguments,
                    environment=settings.environment,
                    log=folder / "log.txt",
                    cpus=processors(settings.server_cpus),
                    registry=folder / "registry",
                )
                started.append(stack.enter_context(server))
            return started[-1]

        yield running


@pytest.fixture
def served(serve: Callable[[], Server]) -> Server:
    """The tiny BF16 model, served by vLLM."""
    return serve()


@pytest.fixture
def fake() -> Iterator[Callable[..., Any]]:
    """Starts a completions server with oddities; see `fake_server.py`."""
    script = runpy.run_path(str(Path(__file__).parent / "fake_server.py"))
    running: list[Any] = []

    def start(**options: Any) -> Any:
        server = script["FakeServer"](**options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()
