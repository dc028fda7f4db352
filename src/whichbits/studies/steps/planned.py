"""A planned step: what it computes, what it reads, and what it needs to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from whichbits.schema.step import Step

Lane = Literal["local", "server", "sitting"]


@dataclass(frozen=True)
class Planned:
    """A step with what it needs to run.

    `local` steps need a core; `server` steps talk to the server of the candidate in `servers`; `sitting` steps measure speed:
    they have the machine for themselves, and run together, with all the servers they name.
    """

    step: Step
    lane: Lane
    reads: Mapping[str, Step] = field(default_factory=dict)
    servers: tuple[str, ...] = ()

    @property
    def before(self) -> tuple[Step, ...]:
        """Steps that must be done first."""
        return tuple(self.reads.values())


def keys(reads: Mapping[str, Step]) -> dict[str, str]:
    """Keys of the steps that a step reads, by role."""
    return {role: step.key for role, step in reads.items()}
