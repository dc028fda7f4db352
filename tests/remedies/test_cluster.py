"""Mistakes on a cluster, and in the parts of a study that run on their own."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import whichbits
from whichbits.engines.vllm.command import EngineCommand
from whichbits.engines.vllm.server_arguments import Settings
from whichbits.studies.execution.local import LocalExecutor
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.servers import ConfiguredEngine
from whichbits.studies.store.store import Store

ray = pytest.importorskip("ray")
checks = pytest.importorskip("whichbits.studies.execution.ray.checks")

NODE = checks.Node("0123456789abcdef", "10.0.0.2", cpus=8.0, gpus=0.0)


@pytest.fixture
def head() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "_system_config": {"worker_niceness": 0}})
    yield cluster
    cluster.shutdown()


def test_clusters_that_are_not_there(follow: Any, head: Any) -> None:
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray._raylet import GcsClient

    def joined(address: str) -> None:
        try:
            checks.join(address)
        finally:
            ray.shutdown()

    def add_a_node() -> None:
        head.add_node(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False)
        joined(head.address)

    follow("no node of the Ray cluster", mistake=lambda: joined(head.address), remedy=add_a_node)
    for nobody in ("127.0.0.1:1", "127.0.0.1:70000", "127.0.0.1:port"):
        follow("no Ray cluster answers", mistake=lambda where=nobody: joined(where), remedy=lambda: joined(head.address))

    def started_with(python: str) -> None:
        """Have the cluster say of itself that it was started with this Python."""
        metadata = {"ray_version": ray.__version__, "python_version": python}
        GcsClient(address=head.address).internal_kv_put(CLUSTER_METADATA_KEY, json.dumps(metadata).encode(), True, b"cluster")

    started_with("3.8.0")
    said = follow(
        "cannot be joined",
        mistake=lambda: joined(head.address),
        remedy=lambda: (started_with(platform.python_version()), joined(head.address)),
    )
    assert "3.8.0" in said.message and platform.python_version() in said.message


def test_an_address_of_an_executor_that_has_none(follow: Any) -> None:
    from whichbits.studies.execution.ray.executor import RayExecutor

    def connect(executor: Any, address: str | None) -> None:
        executor.connect(address)

    for remedy in (lambda: connect(LocalExecutor(), None), lambda: connect(RayExecutor(), "first:6379")):
        follow("has no address", mistake=lambda: connect(LocalExecutor(), "first:6379"), remedy=remedy)


def test_nodes_that_share_a_step(follow: Any) -> None:
    from whichbits.studies.execution.ray.executor import RayExecutor

    def share(executor: Any, nodes: int) -> None:
        executor.share(nodes, "executor.nodes")

    for remedy in (lambda: share(LocalExecutor(), 1), lambda: share(RayExecutor(), 4)):
        follow("runs each step and server on one machine", mistake=lambda: share(LocalExecutor(), 4), remedy=remedy)


def test_a_server_that_spans_nodes_needs_a_cluster(follow: Any, tmp_path: Path, tiny_llama: Path) -> None:
    def plan(nodes: int, executor: str | None = None) -> object:
        specification = tmp_path / f"{nodes}.yaml"
        specification.write_text(
            f"version: 1\nname: s\nmodel: {tiny_llama}\ncandidates: [{{format: w8a8-int, run: served}}]\n"
            f"tasks: [{{name: recall, limit: 2}}]\n"
            f"engine: {{arguments: {{tensor-parallel-size: 2, nnodes: {nodes}}}}}\n"
        )
        if executor is None:
            return whichbits.plan_jobs(specification, store=tmp_path / "jobs")
        return whichbits.plan(specification, store=tmp_path / executor, executor=executor)

    for remedy in (lambda: plan(1, "local"), lambda: plan(2, "ray")):
        error = follow("runs each step and server on one machine", mistake=lambda: plan(2, "local"), remedy=remedy)
    assert "nnodes" in error.remedy
    follow("runs each step and server on one machine", mistake=lambda: plan(2), remedy=lambda: plan(1))


def test_an_engine_that_listens_nowhere_in_particular(follow: Any) -> None:
    from whichbits.studies.execution.ray.executor import RayExecutor

    class Study:
        machine = Machine()

    def engine(*argv: str) -> Callable[[], None]:
        executor = RayExecutor()
        executor._services, executor._members = Study(), None  # type: ignore[assignment]
        configured = ConfiguredEngine(EngineCommand(argv, "1", "own"), Settings({}, {}, (), ()), Path("logs"), 1)
        return lambda: executor.engine(configured)

    own = ("serve", "{model}", "--port", "{port}")
    follow("does not say at which address", mistake=engine(*own), remedy=engine(*own, "--host", "{host}"))


@pytest.mark.parametrize(
    ("error", "change"),
    [
        ("has {name} {other}", {"software": {"torch": "1.0"}}),
        ("cannot use the store", {"store": "No such file or directory"}),
        ("has a clock", {"skew_s": 61.0}),
        ("would serve with", {"engine": "0.1"}),
    ],
)
def test_a_node_that_differs(follow: Any, error: str, change: dict[str, Any]) -> None:
    own = checks.examine(None)

    def check(examined: Any) -> Callable[[], None]:
        return lambda: checks.check_node(NODE, examined, own=own, store=Store(Path("/shared")), cores=4, serves=True)

    said = follow(error, mistake=check(replace(own, **change)), remedy=check(own))
    follow("does not answer", mistake=check(checks.NoAnswer("GetTimeoutError")), remedy=check(own))
    assert "node 10.0.0.2 (01234567)" in said.message


def test_a_node_with_few_processors(follow: Any) -> None:
    own = checks.examine(None)

    def check(cpus: float) -> Callable[[], None]:
        node = replace(NODE, cpus=cpus)
        return lambda: checks.check_node(node, own, own=own, store=Store(Path("/shared")), cores=4, serves=True)

    follow("offers {cpus} processors", mistake=check(2.0), remedy=check(4.0))


SPECIFICATION = """\
version: 1
name: steps
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: {run}}}
tasks: [{{name: order, limit: 4}}]
base_repeats: 1
max_length: 128
"""


def test_steps_that_run_on_their_own(follow: Any, tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, specification = tmp_path / "store", tmp_path / "spec.yaml"

    def plan(run: str) -> Path:
        specification.write_text(SPECIFICATION.format(model=tiny_llama, run=run))
        return whichbits.plan_jobs(specification, store=store)

    follow("only while the study runs", mistake=lambda: plan("auto"), remedy=lambda: plan("emulated"))
    assert os.access(plan("emulated"), os.R_OK)
    first, second = ((store / "jobs" / f"stage-{number}.txt").read_text().split() for number in (1, 2))
    made = [key for key in first if key in {line.split()[0] for line in (store / "jobs" / "stage-1.txt").open()}]

    def run(key: str) -> None:
        ends = whichbits.run_step(store, [key], quiet=True)
        assert [end.state for end in ends] == ["done"]

    def run_what_it_reads() -> None:
        for key in made:
            run(key)
        run(second[0])

    follow("which is not done", mistake=lambda: run(second[0]), remedy=run_what_it_reads)
    follow("run-step: key {key}", mistake=lambda: run("0" * 64), remedy=lambda: run(second[0]))
