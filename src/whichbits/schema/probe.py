"""What `probe` steps return."""

from __future__ import annotations

from typing import Literal

from whichbits.schema.summary import Summary

Status = Literal["native", "reference", "refused"]
"""A kernel that computes in the format; one that computes in another, so that its speed says nothing; or none."""


class ProbeSummary(Summary, kind="probe"):
    """What an engine does with a format on this hardware."""

    status: Status
    kernel: str | None = None
    """Its name in the engine's log."""
    reason: str | None = None
    seconds: float | None = None
    """What asking took."""
