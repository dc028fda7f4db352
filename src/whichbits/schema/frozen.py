"""Base classes of the data that packages exchange."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Frozen(BaseModel):
    """Immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(Frozen):
    """What results hold: a field that a store of another version has, and the class has not, is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Written(Frozen):
    """What a user writes: true and false are not numbers, which pydantic would take for 1 and 0."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if any(isinstance(one, bool) for one in (value if isinstance(value, list | tuple) else (value,))):
            types = _types(cls.model_fields[str(info.field_name)].annotation)
            if bool not in types and types & {int, float}:
                raise ValueError("is true or false, where a number is asked for")
        return value


def _types(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    return {annotation}.union(*map(_types, get_args(annotation)))
