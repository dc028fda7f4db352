"""What this machine has, and which work can run beside which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from whichbits.studies.steps.planned import Needs, Planned


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
    """Accelerators that a server takes of each machine that it spans, where there are some."""
    serves: bool = True
    """Whether servers run here; where none do, what computes has the machine for itself."""

    @property
    def gpus_of_a_server(self) -> int:
        """Of each machine that it spans; 0 where processors serve."""
        return self.devices if self.accelerator else 0

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

    def seconds(self, each: Iterable[tuple[Planned, float]], places: int = 1) -> float:
        """Wall-clock seconds, about, for steps that take so long each, on so many places that are like this machine.

        What a step reads comes before it. However many places there are, it takes as long as the longest chain of steps that
        read each other, and then what measures.
        """
        alone = asking = computing = 0.0
        chains: dict[str, float] = {}
        for planned, seconds in each:
            if planned.needs.alone:
                alone += seconds
                continue
            before = max((chains.get(step.key, 0.0) for step in planned.reads.values()), default=0.0)
            chains[planned.step.key] = before + seconds
            if planned.needs.servers:
                asking += seconds
            else:
                computing += seconds
        one_by_one = self.accelerator or not self.serves
        together = asking + computing if one_by_one else max(asking, (asking + computing) / 2)
        return alone + max(together / places, max(chains.values(), default=0.0))
