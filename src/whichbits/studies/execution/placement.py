"""What this machine has, and which work can run beside which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from whichbits.studies.steps.planned import Needs


class Part(Enum):
    """A part of the machine that one piece of work holds at a time."""

    CORES = "the cores that are not the servers'"
    DEVICE = "what serves models: the servers' cores, or the accelerator"


@dataclass(frozen=True)
class Placement:
    """Parts of the machine, and the cores among them; None for all."""

    parts: frozenset[Part]
    cpus: frozenset[int] | None


@dataclass(frozen=True)
class Machine:
    """The cores of clients and of servers (None: all), and whether an accelerator serves and computes."""

    client: frozenset[int] | None = None
    server: frozenset[int] | None = None
    accelerator: bool = False
    devices: int = 1
    """Accelerators that a server takes, where there are some."""
    serves: bool = True
    """Whether servers run here; where none do, what computes has the machine for itself."""

    def turn(self, needs: Needs) -> int:
        """Order in which waiting work is placed, the smallest first.

        Servers have their cores first. On an accelerator what computes goes first: a server holds its memory.
        """
        return int(needs.compute != self.accelerator)

    def placements(self, needs: Needs) -> tuple[Placement, ...]:
        """Where work with these needs can run, the best first.

        What asks a server leaves the other cores to what computes. What computes can have the servers' cores while no server
        is at work, the more cores the better, but shares an accelerator with none.
        """
        whole = Placement(frozenset(Part), self.client)
        if needs.alone or (needs.compute and (self.accelerator or not self.serves)):
            return (whole,)
        if needs.servers:
            return (Placement(frozenset({Part.DEVICE}), self.client),)
        parts = (Placement(frozenset({Part.CORES}), self.client), Placement(frozenset({Part.DEVICE}), self.server))
        return tuple(sorted(parts, key=lambda part: -len(part.cpus or ())))

    def seconds(self, each: Iterable[tuple[Needs, float]]) -> float:
        """Wall-clock seconds, about, for work of these needs that takes so long each."""
        alone = asking = computing = 0.0
        for needs, seconds in each:
            if needs.alone:
                alone += seconds
            elif needs.servers:
                asking += seconds
            else:
                computing += seconds
        if self.accelerator or not self.serves:
            return alone + asking + computing
        return alone + max(asking, (asking + computing) / 2)
