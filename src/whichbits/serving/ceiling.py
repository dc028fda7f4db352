"""How many streams the load client keeps up on this machine: its cost a token, against a server that computes nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from whichbits.engines.http.connection import Connection
from whichbits.schema.serve import ClientCeiling
from whichbits.serving import null_server
from whichbits.serving.load import Load, Requests, drive
from whichbits.serving.opening import pinned
from whichbits.serving.traffic.content import Asked
from whichbits.serving.validity import BUSY_CLIENT
from whichbits.serving.workload import LoadLevel

STREAMS, EACH, TOKENS = 32, 2, 50
"""Requests in flight, requests of each, and tokens of an answer: two seconds."""


@dataclass(frozen=True)
class _Same:
    """Every request alike."""

    def request(self, level: str, index: int) -> Asked:
        return Asked([1] * 64, TOKENS)


def client_ceiling(cpus: set[int] | None = None) -> ClientCeiling | None:
    """Tokens a second at which the client would use 80 % of a core, from what 32 streams cost; None where nothing arrived.

    `cpus` are the cores of client and server; by default those of this process.
    """
    command = [sys.executable, "-I", "-S", null_server.__file__]
    with pinned(cpus) as cores:
        load = _load(command)
    answered = [seen for seen in load.observations if seen.answered] if load is not None else []
    if load is None or not answered:
        return None
    rate = sum(seen.chunks for seen in answered) / max(seen.end_s for seen in answered)
    return ClientCeiling(tokens_per_second=rate * BUSY_CLIENT / load.busiest_cpu, cores=len(cores))


def _load(command: Sequence[str]) -> Load | None:
    """What the client saw of the server that the command starts; None where it did not come up."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline()
            if not port:
                return None
            connection = Connection(f"http://127.0.0.1:{int(port)}", "null")
            level = LoadLevel("ceiling", STREAMS, None, warmup=0, requests=STREAMS * EACH)
            return asyncio.run(drive(Requests(connection, level, _Same(), seed=0)))
        finally:
            server.kill()
