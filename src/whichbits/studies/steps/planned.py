"""A planned step: what it computes, what it reads, and what it needs to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whichbits.schema.step import Step


@dataclass(frozen=True)
class Needs:
    """What a step needs while it runs."""

    compute: bool = True
    """Cores, as many as it is given, and the accelerator where there is one; False: next to nothing, as it asks a server."""
    servers: tuple[str, ...] = ()
    """Names of the candidates whose servers it asks."""
    alone: bool = False
    """The device for itself: a measurement session. Its steps begin when all others have ended, and run together."""
    requests: int | None = None
    """Requests that it, and other work of the same needs with it, has under way at its server; None: no other may ask then."""

    nodes: int = 1
    """Nodes of a cluster, at most, that each have a share of its work, in a process that finds the others as torchrun's do."""

    def shares(self, other: Needs) -> bool:
        """Whether both can ask at the same time."""
        return self.requests is not None and self == other


COMPUTE = Needs()


def client(*servers: str, requests: int | None = None) -> Needs:
    """Of a step that asks servers for answers; `requests` as in `Needs`."""
    return Needs(compute=False, servers=servers, requests=requests)


def measurement(*servers: str) -> Needs:
    """Of a step that measures the speed of servers."""
    return Needs(compute=False, servers=servers, alone=True)


REPLICA = "#"
"""What no candidate's name has."""


def replica(candidate: str, number: int) -> str:
    """Name of one of several servers of a candidate; the first, number 0, has the candidate's name."""
    return f"{candidate}{REPLICA}{number + 1}" if number else candidate


def candidate_of(server: str) -> str:
    """The candidate that a server serves."""
    return server.partition(REPLICA)[0]


@dataclass(frozen=True)
class Whole:
    """The step that a shard is a part of."""

    step: Step
    shards: int
    """How many it has."""


@dataclass(frozen=True)
class Planned:
    """A step of a study, with what it needs to run."""

    step: Step
    needs: Needs = COMPUTE
    reads: Mapping[str, Step] = field(default_factory=dict)
    """Steps that must be done first, by the role of what they give."""
    part_of: Whole | None = None
    """Of a shard."""
    merges: bool = False
    """Whether it makes its result of its shards', which are then all that it reads."""


def keys(reads: Mapping[str, Step]) -> dict[str, str]:
    """Keys of the steps that a step reads, by role."""
    return {role: step.key for role, step in reads.items()}
