"""What a step found, as one small object; its kinds register themselves."""

from __future__ import annotations

from typing import Any

from whichbits.schema.frozen import Stored

KINDS: dict[str, type[Summary]] = {}
"""Classes by kind of step, of the modules that have been imported."""


class Summary(Stored):
    """Base of all summaries: `class ProbeSummary(Summary, kind="probe")` is what steps of the kind `probe` return."""

    def __init_subclass__(cls, *, kind: str, **config: Any) -> None:
        """Register the class for its kind of step."""
        super().__init_subclass__(**config)
        KINDS[kind] = cls
