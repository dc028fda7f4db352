"""What `probe` steps return."""

from __future__ import annotations

from typing import Literal

from whichbits.schema.summary import Summary


class ProbeSummary(Summary, kind="probe"):
    """What an engine does with a format on this hardware."""

    status: Literal["native", "reference", "refused"]
    kernel: str | None = None
    """Its name in the engine's log."""
    reason: str | None = None
    seconds: float | None = None
    """What asking took."""
