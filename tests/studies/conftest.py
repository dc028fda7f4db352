"""A real S3 server, a proxy before it that makes it fail, and stores in it and in a folder."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from whichbits.studies.store import objects
from whichbits.studies.store.object_store import ObjectStore
from whichbits.studies.store.store import Store

Fault = Literal["refused", "request cut", "answer cut", "answer lost", "slow"]
SLOW_S = 1.5


class Proxy:
    """Passes connections on to a server, but for those that `faults` names, in their order."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.faults: list[Fault] = []
        self.made: list[Fault] = []
        """Those that have happened."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            fault = self.faults.pop(0) if self.faults else None
            if fault is not None:
                self.made.append(fault)
            threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: Fault | None) -> None:
        with client, suppress(OSError):
            self._pass_on(client, fault)
            client.shutdown(socket.SHUT_RDWR)  # closing alone does not end a connection that a thread reads from

    def _pass_on(self, client: socket.socket, fault: Fault | None) -> None:
        """One request and its answer; the server is asked to close the connection then, so that each request has one."""
        if fault == "refused":
            return
        with socket.create_connection(("127.0.0.1", self._server)) as server:
            request = client.recv(65536).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            if fault == "request cut":
                server.sendall(request[: len(request) // 2])
                return
            server.sendall(request)
            threading.Thread(target=_copy, args=(client, server), daemon=True).start()
            if fault == "slow":
                time.sleep(SLOW_S)
            answer = server.recv(65536)  # whatever was asked is done
            if fault == "answer lost":
                return
            if fault == "answer cut":
                client.sendall(answer[: len(answer) // 2])
                return
            client.sendall(answer)
            _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)


@pytest.fixture(scope="session")
def proxy() -> Iterator[Proxy]:
    """A server behind a proxy."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    made = Proxy(server.get_host_and_port()[1])
    yield made
    made.close()
    server.stop()


@pytest.fixture
def s3(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The server with the bucket `studies`, and what finds it by the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "cache"))
    proxy.faults.clear()
    proxy.made.clear()
    objects.file_system(os.getpid()).makedirs("studies", exist_ok=True)
    return proxy


class Machines:
    """One store as several machines see it."""

    def __init__(self, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._kind = kind
        self._folder = folder
        self._monkeypatch = monkeypatch

    def store(self, machine: str = "one") -> Store:
        """The store on a machine: in S3 each has a copy of its own."""
        if self._kind == "folder":
            return Store(self._folder / "store")
        self._monkeypatch.setenv("WHICHBITS_CACHE", str(self._folder / machine))
        return ObjectStore(f"s3://studies/{self._folder.name}")


@pytest.fixture(params=["folder", "s3"])
def machines(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """A store in a folder, and in S3."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return Machines(request.param, tmp_path, monkeypatch)
