"""Work that several nodes share: a process of it on each, which find each other as torchrun's do."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from whichbits.studies.execution.ray.node import Assignment, Report, run, run_beside

if TYPE_CHECKING:
    from ray.actor import ActorHandle

ENDING_S = 10.0
"""What the others get to end once the first has."""


@dataclass(frozen=True)
class Others:
    """The processes beside the first, on nodes of their own."""

    group: PlacementGroup
    tasks: tuple[ray.ObjectRef[str | None], ...]

    def beyond(self, nodes: int) -> bool:
        """Whether they wait for more nodes than so many: one was lost when it had been counted."""
        waits: bool = placement_group_table(self.group)["state"] == "PENDING"
        return waits and self.group.bundle_count > nodes

    def end(self) -> list[str]:
        """Give their nodes back; why those have failed that did so by themselves."""
        ended, running = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=ENDING_S)
        for task in running:
            ray.cancel(task, force=True)
        causes = [_cause(task) for task in ended]
        remove_placement_group(self.group)
        return [cause for cause in causes if cause is not None]


def share(
    assignment: Assignment, mailbox: ActorHandle[Any], count: int, node: Mapping[str, float], there: Mapping[str, str]
) -> tuple[ray.ObjectRef[Report], Others]:
    """Give work to so many of the nodes that `there` selects, each with what `node` says (CPU, GPU); the first reports.

    Where another has failed by itself, or is lost, the first is cancelled, which would wait for it.
    """
    group = placement_group([dict(node)] * count, strategy="STRICT_SPREAD", bundle_label_selector=[dict(there)] * count)

    def placed(task: Any, rank: int, cpus: float, gpus: float) -> Any:
        inside = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
        return ray.remote(max_retries=0)(task).options(scheduling_strategy=inside, num_cpus=cpus, num_gpus=gpus)

    cpus, gpus = node["CPU"], node.get("GPU", 0)
    meeting = placed(_free_address, 0, 0, 0).remote()
    first = placed(_first, 0, cpus, gpus).remote(assignment, mailbox, count, meeting)
    others = [placed(_beside, rank, cpus, gpus).remote(assignment, rank, count, meeting) for rank in range(1, count)]

    def ended(future: Future[str | None]) -> None:
        if future.exception() is not None or future.result() is not None:
            ray.cancel(first, force=True)

    for other in others:
        other.future().add_done_callback(ended)
    return first, Others(group, tuple(others))


def _free_address() -> tuple[str, int]:
    """This node's address, and a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("", 0))
        return _here(), free.getsockname()[1]


def _here() -> str:
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def _first(assignment: Assignment, mailbox: ActorHandle[Any], count: int, meeting: tuple[str, int]) -> Report:
    return run(_of_rank(assignment, 0, count, meeting), mailbox)


def _beside(assignment: Assignment, rank: int, count: int, meeting: tuple[str, int]) -> str | None:
    cause = run_beside(_of_rank(assignment, rank, count, meeting))
    return None if cause is None else f"process {rank} of {count} on node {_here()}: {cause}"


def _of_rank(assignment: Assignment, rank: int, count: int, meeting: tuple[str, int]) -> Assignment:
    address, port = meeting
    named = {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": address, "MASTER_PORT": str(port)}
    return replace(assignment, environment={**assignment.environment, **named})


def _cause(task: ray.ObjectRef[str | None]) -> str | None:
    """Why a task that has ended has failed."""
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        return type(error).__name__
