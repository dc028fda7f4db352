"""Base classes of the data that packages exchange."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Frozen(BaseModel):
    """Immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(Frozen):
    """What results hold: a field that a store of another version has, and the class has not, is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Written(Frozen):
    """What people write: `true` is no number, though Python counts it as 1."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name].annotation if info.field_name in cls.model_fields else Any
        found = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, bool) for each in found) and not _parts(annotation) & {bool, Any}:
            remedy = "write the number; on, yes and true as texts stand in quotes"
            raise PydanticCustomError("truth", "should be a number or a text, and is true or false", {"remedy": remedy})
        return value


def _parts(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    return {annotation}.union(*map(_parts, get_args(annotation)))
