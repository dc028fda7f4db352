"""A piece of work on its way through a cluster, and the nodes that a measurement has for itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ray.util.placement_group import PlacementGroup, placement_group

from whichbits.studies.execution.executor import Work
from whichbits.studies.execution.ray.checks import Node
from whichbits.studies.execution.ray.members import only
from whichbits.studies.execution.ray.node import Report
from whichbits.studies.execution.ray.several import Others
from whichbits.studies.steps.planned import Needs
from whichbits.studies.steps.step import Result

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(eq=False)
class Piece:
    """Work on its way."""

    work: Work
    futures: dict[str, Future[Result]]
    """Of the steps without a result, by key."""
    attempts: int = 0
    node: str | None = None
    """Where it runs, once it does."""
    avoided: set[str] = field(default_factory=set)
    """Nodes where it was lost."""
    allowed: frozenset[str] = frozenset()
    """Nodes that Ray may run it on."""
    withdrawn: bool = False
    """Whether it is taken back from Ray before it has begun, which is no attempt of it."""
    unplaced_since: float | None = None
    """Since when no living node could hold it."""
    task: ObjectRef[Report] | None = None
    group: PlacementGroup | None = None
    others: Others | None = None
    """Processes on further nodes that share its work."""
    left: dict[str, Path] = field(default_factory=dict)
    """What its last attempt has written of steps that have no result, by key."""

    @property
    def needs(self) -> Needs:
        """What its steps need while they run."""
        return self.work.steps[0].needs


def largest(nodes: Sequence[Node], count: int) -> list[Node]:
    """Those of which a measurement gets `count`: no smaller than the smallest of these; none where they are fewer."""
    sizes = sorted(((node.gpus, node.cpus) for node in nodes), reverse=True)
    return [node for node in nodes if (node.gpus, node.cpus) >= sizes[count - 1]] if count <= len(sizes) else []


def whole_nodes(nodes: Sequence[Node], count: int) -> PlacementGroup:
    """All of so many of these nodes, for a measurement that has its devices alone."""
    cpus, gpus = min(node.cpus for node in nodes), min(node.gpus for node in nodes)
    bundle = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    there = only(node.id for node in nodes)
    group: PlacementGroup = placement_group([bundle] * count, strategy="STRICT_SPREAD", bundle_label_selector=[there] * count)
    return group
