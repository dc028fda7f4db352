"""What comes before a measurement: the client's cores, and a first request."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from whichbits.core.errors import UserError
from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.requests import HttpClient
from whichbits.serving.client import request_body
from whichbits.serving.traffic.content import Asked


def ask_once(connection: Connection, vocabulary: NDArray[np.int32]) -> None:
    """One short completion of token ids, before any load. Raises UserError with the server's words where it refuses that."""
    body = json.loads(request_body(connection.model or "", Asked(vocabulary[:4].tolist(), 2)).sent)
    try:
        with HttpClient(connection) as client:
            client.post("/v1/completions", body)
    except EngineError as error:
        raise UserError(
            f"url {connection.url} gives no completion: {error}",
            remedy="see the server's log; it must take token ids as the prompt of /v1/completions",
        ) from error


@contextmanager
def pinned(cpus: set[int] | None) -> Iterator[frozenset[int]]:
    """Bind this process to `cpus` for the time being; yields the cores it may use."""
    before = os.sched_getaffinity(0)
    if cpus is None:
        yield frozenset(before)
        return
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise UserError(f"cpus {sorted(cpus)} cannot be used: {error}", remedy=f"choose from {sorted(before)}") from error
    try:
        yield frozenset(cpus)
    finally:
        os.sched_setaffinity(0, before)
