"""Whether a server at an address serves the weights that are here."""

from __future__ import annotations

from whichbits.schema.frozen import Stored


class Agreement(Stored):
    """How near a server's log-probabilities are to those of the weights here: root mean squares, nats a token."""

    distance: float | None = None
    limit: float | None = None
    """What rounding explains."""
    reason: str | None = None
    """Why they were not compared, where `distance` is None."""

    @property
    def other(self) -> bool:
        """Whether the server serves other weights, or none that could be told from others."""
        return self.distance is not None and self.limit is not None and not self.distance <= self.limit
