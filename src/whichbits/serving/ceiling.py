"""How many streams the load client keeps up on this machine: its cost a token, against a server that computes nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass

from whichbits.engines.http.connection import Connection
from whichbits.serving import null_server
from whichbits.serving.load import Requests, drive
from whichbits.serving.traffic.content import Asked
from whichbits.serving.validity import BUSY_CLIENT
from whichbits.serving.workload import LoadLevel

STREAMS, EACH, TOKENS = 32, 2, 50
"""Requests in flight, requests of each, and tokens of an answer: two seconds."""


@dataclass(frozen=True)
class Ceiling:
    """What the client can read before it is said to be saturated."""

    tokens_per_second: float
    """One a chunk."""
    cores: int
    """That it shared with the server."""

    @property
    def streams(self) -> int:
        """Streams of 50 tokens a second."""
        return int(self.tokens_per_second * null_server.TOKEN_S)


@dataclass(frozen=True)
class _Same:
    """Every request alike."""

    def request(self, level: str, index: int) -> Asked:
        return Asked([1] * 64, TOKENS)


def client_ceiling() -> Ceiling | None:
    """Tokens a second at which the client would use 80 % of a core, from what 32 streams cost; None where nothing arrived."""
    command = [sys.executable, "-I", "-S", null_server.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as server:
        try:
            assert server.stdout is not None
            connection = Connection(f"http://127.0.0.1:{int(server.stdout.readline())}", "null")
            level = LoadLevel("ceiling", STREAMS, None, warmup=0, requests=STREAMS * EACH)
            load = asyncio.run(drive(Requests(connection, level, _Same(), seed=0)))
        finally:
            server.kill()
    answered = [seen for seen in load.observations if seen.answered]
    if not answered:
        return None
    seconds = max(seen.end_s for seen in answered)
    rate = sum(seen.chunks for seen in answered) / seconds
    return Ceiling(rate * BUSY_CLIENT / load.busiest_cpu, len(os.sched_getaffinity(0)))
