"""What a step found, as one small object; its kinds register themselves."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

KINDS: dict[str, type[Summary]] = {}
"""Classes by kind of step, of the modules that have been imported."""


class Summary(BaseModel):
    """Base of all summaries: `class ProbeSummary(Summary, kind="probe")` is what steps of the kind `probe` return.

    A field that a store of another version has, and the class has not, is ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind_of_step: ClassVar[str] = ""

    def __init_subclass__(cls, *, kind: str, **config: Any) -> None:
        """Register the class for its kind of step."""
        super().__init_subclass__(**config)
        cls.kind_of_step = kind
        KINDS[kind] = cls
