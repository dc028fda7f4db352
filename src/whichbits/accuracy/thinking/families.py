"""Families of models by how they are switched between thinking modes, from `families.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml
from pydantic import Field

from whichbits.schema.frozen import Frozen
from whichbits.schema.thinking import TemplateArguments, ThinkingMode


class Switch(Frozen):
    """What a mode's prompt has that others have not."""

    suffix: str = ""
    system: str | None = None
    arguments: TemplateArguments = Field(default_factory=dict)


class Family(Frozen):
    """Models that are switched in one way."""

    marker: str | None = None
    """Text in the chat template by which the family is known."""
    argument: str | None = None
    """Argument that the chat template reads, by which it is known."""
    modes: Mapping[str, Switch]

    def known_by(self, template: str) -> bool:
        """Whether a model with this chat template may be one."""
        if self.marker is not None and self.marker in template:
            return True
        return self.argument is not None and re.search(rf"\b{re.escape(self.argument)}\b", template) is not None

    def mode(self, name: str) -> ThinkingMode:
        """The mode of that name."""
        return ThinkingMode(name=name, **self.modes[name].model_dump())


@cache
def families() -> Mapping[str, Family]:
    """All families by name, in the order in which they are tried."""
    text = (files("whichbits.accuracy.thinking") / "families.yaml").read_text(encoding="utf-8")
    return {name: Family(**fields) for name, fields in yaml.safe_load(text)["families"].items()}
