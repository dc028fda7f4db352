"""What each node of a cluster must have before a study runs there; a node that differs is refused by name."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from whichbits.core import errors
from whichbits.core.errors import UserError
from whichbits.engines.vllm.command import find_vllm
from whichbits.hardware.this_machine import describe
from whichbits.studies.store.place import open_store
from whichbits.studies.store.store import Store

LIBRARIES = ("compressed-tensors", "lm-eval", "numpy", "ray", "torch", "transformers")
"""Their versions are the same on all nodes: results and what passes between nodes depend on them."""

CONNECT_TIMEOUT_S = 10.0

ANSWER_S = 60.0
"""A node that says nothing of itself for so long is refused."""

LARGEST_SKEW_S = 30.0
"""Clocks of nodes may differ by so much: times of results are compared by people."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster as Ray knows it."""

    id: str
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Probe:
    """Where the study's machine has left a note, and its nodes leave theirs."""

    store: str
    """Its address."""
    folder: str


DRIVER = "driver"
"""Name and text of the note of the study's machine."""


@dataclass(frozen=True)
class Examined:
    """What a process finds on its machine."""

    software: Mapping[str, str]
    """Version by name."""
    hardware: str
    engine: str
    """What would serve, or why nothing would."""
    store: str | None
    """Why the store cannot be used; None where it can."""
    clock: float
    """Seconds since 1970."""
    skew_s: float = 0.0
    """How far that is off the study's machine, at least."""


@dataclass(frozen=True)
class NoAnswer:
    """Of a node that could not be examined."""

    cause: str


def join(address: str | None) -> tuple[Node, ...]:
    """Connect to the cluster at an address, by default that of `RAY_ADDRESS` or of this machine; its nodes that take work.

    Raises UserError where there is none, and where it has other versions of Ray or Python.
    """
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if where != "auto":  # Ray itself asks an address where nobody listens for minutes
            host, _, port = where.rpartition(":")
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        ray.init(address=where, namespace="whichbits", logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, OverflowError, ValueError) as error:  # OverflowError: of a port that no machine has
        raise UserError(
            f"executor: no Ray cluster answers at {where}: {' '.join(str(error).split())}",
            remedy="start one with `ray start --head`, or give its `address`",
        ) from error
    except RuntimeError as error:  # as for other versions of Ray or Python
        raise UserError(
            f"executor: the Ray cluster at {where} cannot be joined: {' '.join(str(error).split())}",
            remedy="install the cluster's versions of Ray and Python here, or start a cluster with those of this machine",
        ) from error
    found = nodes()
    if not found:
        raise UserError("executor: no node of the Ray cluster takes work", remedy="start one with `ray start --num-cpus`")
    return found


def nodes() -> tuple[Node, ...]:
    """The living nodes of the cluster that take work."""
    found = (
        Node(
            entry["NodeID"],
            entry["NodeManagerAddress"],
            entry["Resources"].get("CPU", 0.0),
            entry["Resources"].get("GPU", 0.0),
        )
        for entry in ray.nodes()  # type: ignore[no-untyped-call]
        if entry["Alive"]
    )
    return tuple(node for node in found if node.cpus >= 1)


def examine_nodes(found: Sequence[Node], store: Store) -> Iterator[tuple[Node, Examined | NoAnswer]]:
    """What each node is, and whether it can read and write the store. Raises OSError of the store."""
    probe = Probe(store.address, uuid.uuid4().hex)
    store.leave(f"{probe.folder}/{DRIVER}", DRIVER)
    try:
        asked = time.time()
        answers = [_asked(node, probe) for node in found]
        for node, answer in zip(found, answers, strict=True):
            try:
                examined = ray.get(answer, timeout=max(0.0, asked + ANSWER_S - time.time()))
            except ray.exceptions.RayError as error:
                yield node, NoAnswer(f"{type(error).__name__} within {ANSWER_S:.0f} s")
                continue
            skew = max(asked - examined.clock, examined.clock - time.time(), 0.0)
            problem = examined.store
            if problem is None and store.left(f"{probe.folder}/{node.id}") is None:
                problem = "what it writes there is not seen here"
            yield node, replace(examined, store=problem, skew_s=skew)
    finally:
        store.forget(probe.folder)


def check_node(node: Node, examined: Examined | NoAnswer, *, own: Examined, store: Store, cores: int, serves: bool) -> Examined:
    """What was found; raises UserError for a node on which a study could not run as on this machine, which is `own`.

    cores: what a step computes on. serves: whether servers are started on the nodes.
    """
    where = f"executor: node {node.address} ({node.id[:8]})"
    if isinstance(examined, NoAnswer):
        raise UserError(
            f"{where} does not answer: {examined.cause}",
            remedy="see its session_latest/logs of Ray, and start the node again: `ray stop`, `ray start --address ...`",
        )
    for name, version in own.software.items():
        other = examined.software.get(name, "none")
        if other != version:
            raise UserError(
                f"{where} has {name} {other}, this machine {version}",
                remedy="install the same versions on all nodes, as by the container image or requirements/study.lock",
            )
    if examined.store is not None:
        raise UserError(
            f"{where} cannot use the store {store.place}: {examined.store}",
            remedy="name a --store on a file system that all nodes have at the same path, or s3://BUCKET/FOLDER",
        )
    if examined.skew_s > LARGEST_SKEW_S:
        raise UserError(
            f"{where} has a clock that is {examined.skew_s:.0f} s off this machine's",
            remedy="synchronize the clocks (chrony, systemd-timesyncd)",
        )
    if node.cpus < cores:
        raise UserError(
            f"{where} offers {node.cpus:g} processors, and a step computes on {cores}",
            remedy=f"start it with `ray start --num-cpus {cores}` or more, or with 0 so that it takes no work",
        )
    if serves and (examined.hardware, examined.engine) != (own.hardware, own.engine):
        raise UserError(
            f"{where} would serve with {examined.engine} on {examined.hardware}, "
            f"this machine with {own.engine} on {own.hardware}",
            remedy="run the study on a machine like the nodes, and start other nodes with `ray start --num-cpus 0`",
        )
    return examined


def examine(probe: Probe | None) -> Examined:
    """Examine this machine, and whether it finds and leaves notes where the probe says."""
    try:
        engine = find_vllm().version
    except UserError as error:
        engine = f"no engine: {error.message}"
    return Examined(_software(), describe().kind, engine, None if probe is None else _problem(probe), time.time())


def _asked(node: Node, probe: Probe) -> ray.ObjectRef[Examined]:
    """What a process finds on a node."""
    here = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(examine).options(num_cpus=0, scheduling_strategy=here, max_retries=0).remote(probe)


def _problem(probe: Probe) -> str | None:
    """Why this machine cannot read what another has written there, and write there itself; None where it can."""
    try:
        store = open_store(probe.store)
        if store.left(f"{probe.folder}/{DRIVER}") != DRIVER:
            return "what this machine writes there is not seen"
        store.leave(f"{probe.folder}/{ray.get_runtime_context().get_node_id()}", "node")
    except OSError as error:
        return error.strerror or str(error)
    except UserError as error:
        return error.message
    return None


@cache
def _software() -> dict[str, str]:
    """Versions of Python, whichbits and what it computes with; of whichbits its source too."""
    found = {"Python": platform.python_version(), "whichbits": f"{metadata.version('whichbits')} (source {_source()})"}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _source() -> str:
    """Digest of the package's files."""
    folder = Path(errors.__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]
