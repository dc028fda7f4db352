"""Serve a checkpoint: start the engine's command, wait until it answers, and leave nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from whichbits.core.errors import UserError
from whichbits.core.processes import machine_identity, safe_environment, start_time
from whichbits.engines.errors import EngineEnded, EngineError
from whichbits.engines.vllm import server_records as records
from whichbits.engines.vllm import supervisor
from whichbits.engines.vllm.command import LOOPBACK, EngineCommand
from whichbits.engines.vllm.log import root_cause, tail
from whichbits.engines.vllm.server_arguments import option
from whichbits.schema.engine import Arguments

GRACE_S = 10.0
SUPERVISED = "WHICHBITS_SERVER"
"""Environment variable of all that belongs to a server, which its supervisor ends in good order."""

# What steers an engine reaches it through `environment` alone, so that a step's key names all of it.
_STEERING = (
    "VLLM_", "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "TORCH_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "PYTORCH_", "TRITON_",
    "FLASHINFER_", "CUBLAS_", "ATEN_", "DNNL_", "ONEDNN_", "NVIDIA_TF32_OVERRIDE", "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
)  # fmt: skip


def flags(arguments: Arguments) -> list[str]:
    """Command-line arguments of a mapping: {"max-model-len": 512, "enforce-eager": True, "enable-prefix-caching": False}
    gives --max-model-len 512 --enforce-eager --no-enable-prefix-caching; lists and mappings are written as JSON.
    """
    words: list[str] = []
    for name, value in arguments.items():
        word = option(name)
        if value is True or value is False:
            words.append(f"--{word}" if value else f"--no-{word}")
        else:
            words += [f"--{word}", value if isinstance(value, str) else json.dumps(value)]
    return words


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server can listen on a port of an address of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = LOOPBACK) -> int:
    """A free port below the range of outgoing connections, one of which could else take it before the server does."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="utf-8").split()[0])
    candidates = range(min(10_000, max(1024, low - 10_000)), low)
    for port in random.SystemRandom().sample(candidates, k=min(200, len(candidates))):
        if port_is_free(port, host):
            return port
    raise EngineError(f"no free port between {candidates.start} and {candidates.stop}")


class Server:
    """A served checkpoint, as a context manager; `url` is where it answers and `model` the name to ask for.

    arguments: the engine's options by name, see `flags`. environment: variables for it; inherited variables that steer
    engines (VLLM_*, OMP_*, ...) are not passed on, and PYTHONSAFEPATH keeps the working directory off its import path. log:
    file for the engine's output. cpus: processors that it is bound to. host: address of this machine that it answers at.
    Raises UserError where `port` is in use, EngineError where the engine ends, is not ready after `start_timeout_s`, or has not
    started when `stopping` is set. One that is `headless` serves with others, gives no answers, and is not waited for.
    Servers that killed runs left behind, known from the folder `registry`, are ended first.
    """

    def __init__(
        self,
        command: EngineCommand,
        checkpoint: Path | str,
        *,
        arguments: Arguments,
        environment: Mapping[str, str],
        log: Path,
        cpus: Collection[int] | None = None,
        host: str = LOOPBACK,
        port: int | None = None,
        start_timeout_s: float = 600.0,
        registry: Path | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        if port is not None and not port_is_free(port, host):
            raise UserError(f"port {port} is in use", remedy="choose another port, or none to have a free one chosen")
        self.log = log
        self.model = str(arguments.get("served-model-name", checkpoint))
        self._answers = not arguments.get("headless")
        self.start_s = 0.0
        self._registry = registry or records.default_registry()
        self._start_timeout_s = start_timeout_s
        self._stopping = stopping or threading.Event()
        self.host = host
        self.port = port or free_port(host)
        self._checkpoint = str(Path(checkpoint).absolute() if Path(checkpoint).is_dir() else checkpoint)
        self._argv = command.expand(self._checkpoint, self.port, flags(arguments), host)
        self._environment = dict(environment)
        self._cpus = ",".join(map(str, sorted(cpus))) if cpus else "-"
        self._process: subprocess.Popen[bytes] | None = None
        self._record: Path | None = None

    @property
    def url(self) -> str:
        """Root of the server, without /v1."""
        return f"http://{self.host}:{self.port}"

    @property
    def argv(self) -> list[str]:
        """The command as it is run."""
        return list(self._argv)

    def __enter__(self) -> Self:
        records.end_stale_servers(self._registry)
        began = time.monotonic()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
        # Byte code that is not kept is compiled anew by each of the engine's processes: half a minute a start.
        for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME"):
            inherited.pop(name, None)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), str(GRACE_S), self._cpus, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**safe_environment(inherited), "PYTHONUNBUFFERED": "1", SUPERVISED: "1", **self._environment},
                start_new_session=True,
            )
        try:
            self._record = records.record(self._registry, self._identity(self._process.pid))
            if self._answers:
                self._wait_until_ready(began + self._start_timeout_s)
        except BaseException:
            self.stop()
            raise
        self.start_s = time.monotonic() - began
        records.note_ready(self._record, self.start_s)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _identity(self, pid: int) -> records.ServerRecord:
        return records.ServerRecord(
            pid=pid,
            start_time=start_time(pid) or 0,
            parent_pid=os.getpid(),
            parent_start_time=start_time(os.getpid()) or 0,
            machine=machine_identity(),
            port=self.port,
            checkpoint=self._checkpoint,
        )

    def stop(self) -> None:
        """End the server and everything that it started; returns when all of it is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            # Only a supervisor that was killed itself leaves anything.
            if records.session_members(self._process.pid):
                records.end_session(self._process.pid, grace_s=0)
            self._process = None
        if self._record is not None:
            records.forget(self._record)
            self._record = None

    def failure(self) -> str | None:
        """Why the server has ended, in one line; None while it runs."""
        ended = self._ended()
        return None if ended is None else str(ended)

    def check(self) -> None:
        """Raise EngineEnded with the cause if the server has ended."""
        ended = self._ended()
        if ended is not None:
            raise ended

    def _ended(self) -> EngineEnded | None:
        if self._process is None or (status := self._process.poll()) is None:
            return None
        return EngineEnded(status, root_cause(tail(self.log)), str(self.log))

    def _wait_until_ready(self, deadline: float) -> None:
        while True:
            self.check()
            if self._get("/health") is not None:
                break
            if time.monotonic() > deadline:
                cause = root_cause(tail(self.log))
                raise EngineError(f"the engine did not answer within {self._start_timeout_s:.0f} s; its last word: {cause}")
            if self._stopping.wait(0.1):
                raise EngineError("stopped while it started")
        answer = json.loads(self._get("/v1/models") or b"{}")
        served = [entry.get("id") for entry in answer.get("data", [])]
        if served and self.model not in served:
            raise EngineError(f"port {self.port} answers for {served}, not for {self.model!r}: another server has taken it")

    def _get(self, path: str) -> bytes | None:
        """Body of a successful answer, None where there is none (yet)."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            return body if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
