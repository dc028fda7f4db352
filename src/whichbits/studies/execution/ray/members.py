"""Nodes that a study runs on: those of its start that live, and those that join and pass the same examination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from whichbits.core.errors import UserError
from whichbits.studies.execution.ray.checks import Examined, NoAnswer, Node, examine_nodes, nodes
from whichbits.studies.store.store import Store

UNPLACED_S = 600.0
"""Work or a server that no living node could hold for so long has failed: a lost machine may be back before."""


@dataclass
class Members:
    """Ray places work on a node as soon as it has joined, so all that is given to Ray names the nodes that it may go to."""

    start: Sequence[Node]
    """Those of the start, which have been examined."""
    store: Store
    check: Callable[[Node, Examined | NoAnswer], object]
    """Raises UserError for a node that the study cannot run on."""
    note: Callable[[str], None]
    _examined: dict[str, Node | None] = field(default_factory=dict, init=False)
    """By id, those that have gone too; None of those that were refused."""
    _there: tuple[Node, ...] = field(default=(), init=False)
    """All living nodes of the cluster, as last seen."""

    def __post_init__(self) -> None:
        self._examined = {node.id: node for node in self.start}
        self._there = tuple(self.start)

    @property
    def living(self) -> tuple[Node, ...]:
        """Those that live, as last seen."""
        return tuple(node for node in self._there if self._examined.get(node.id) is not None)

    def of(self, ids: Iterable[str]) -> tuple[Node, ...]:
        """Those of these ids that have passed the examination."""
        return tuple(node for id in ids if (node := self._examined.get(id)) is not None)

    def refresh(self) -> None:
        """See which nodes live now."""
        self._there = nodes()

    def look(self) -> None:
        """See which nodes live now, and examine those that have joined. Raises OSError of the store."""
        self.refresh()
        new = [node for node in self._there if node.id not in self._examined]
        for node, examined in examine_nodes(new, self.store) if new else ():
            try:
                self.check(node, examined)
            except UserError as error:
                self._examined[node.id] = None
                self.note(f"{error.message}; it gets no work")
            else:
                self._examined[node.id] = node
                self.note(f"node {named(node)} has joined")

    def name_of(self, id: str | None) -> str:
        """Address of a node, for people."""
        found = self._examined.get(id) if id is not None else None
        return "unknown" if found is None else named(found)


def named(node: Node) -> str:
    """A node's address and the beginning of its id."""
    return f"{node.address} ({node.id[:8]})"


def only(ids: Iterable[str]) -> dict[str, str]:
    """Ray's label selector for these nodes; of one at least."""
    return {"ray.io/node-id": f"in({','.join(sorted(ids))})"}
