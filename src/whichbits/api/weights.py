"""Whether a server at an address serves the weights that are on this machine, for the caller of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whichbits.schema.step import Record


@dataclass(frozen=True)
class ServedWeights:
    """What the comparison of log-probabilities with transformers' came to."""

    same: bool | None
    """None where they were not compared."""
    reason: str | None
    """Why they were not compared."""
    distance: float | None
    """Mean difference of log-probabilities, nats a token."""
    limit: float | None
    """What rounding explains, nats a token."""

    def __str__(self) -> str:
        """The same in a few words."""
        if self.same is None:
            return f"not compared: {self.reason}"
        return (
            "the same"
            if self.same
            else f"others: {self.distance:.3f} nats a token away, where rounding explains {self.limit:.3f}"
        )


def weights_of(record: Record) -> ServedWeights | None:
    """Of the candidate that a result is of; None where no server at an address was asked."""
    from whichbits.verdict.collect import weights_of as compared

    candidate = record.labels.candidate
    found = next((one for one in compared(record, candidate) if one.candidate == candidate), None)
    if found is None:
        return None
    return ServedWeights(None if found.reason is not None else not found.other, found.reason, found.distance, found.limit)
