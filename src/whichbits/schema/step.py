"""A step and its key: the SHA-256 of everything that can change its result; and its record once it has run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from whichbits.schema.inputs import Inputs, Local
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.summary import Summary

Items = int | Literal["all"]
"""How many of a step's items: the first so many, or all."""

Found = TypeVar("Found", bound=Summary)
InputsT = TypeVar("InputsT", bound=Inputs)
LocalT = TypeVar("LocalT", bound=Local)


def canonical_json(value: Any) -> str:
    """Text of `value` that is the same for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


@dataclass(frozen=True)
class Step:
    """One job of a study.

    `inputs` holds everything that can change the result, `reads` the keys of the steps whose results it uses, by role.
    Not part of the key: `labels` say what it means to people, `local` where its inputs are on this machine, and `items` how
    many items are wanted, where a step is counted in them: more are added to those that are there.
    """

    kind: str
    version: int
    inputs: Inputs
    reads: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    local: Local = field(default_factory=Local)
    items: Items | None = None

    @cached_property
    def key(self) -> str:
        """SHA-256 over kind, version, inputs and the keys read, in hexadecimal."""
        identity = {
            "kind": self.kind,
            "version": self.version,
            "inputs": self.inputs.model_dump(mode="json"),
            "reads": self.reads,
        }
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()

    def inputs_as(self, inputs: type[InputsT]) -> InputsT:
        """Its inputs, of the kind that `inputs` is of."""
        if not isinstance(self.inputs, inputs):
            raise TypeError(f"{self.kind} {self.key} has {type(self.inputs).__name__}, not {inputs.__name__}")
        return self.inputs

    def local_as(self, local: type[LocalT]) -> LocalT:
        """Where they are on this machine, for the kind that `local` is of."""
        if not isinstance(self.local, local):
            raise TypeError(f"{self.kind} {self.key} has {type(self.local).__name__}, not {local.__name__}")
        return self.local


@dataclass(frozen=True)
class Record:
    """A step of a plan as analysis sees it: what it was, how it ended, and where its files are."""

    key: str
    kind: str
    labels: Labels
    state: Literal["done", "failed", "missing"]
    directory: Path
    summary: Summary | None = None
    """None where there is no result."""
    provenance: Provenance = field(default_factory=Provenance)
    error: str | None = None

    def found(self, summary: type[Found]) -> Found:
        """The summary of a finished step of the kind that `summary` is of."""
        if not isinstance(self.summary, summary):
            raise TypeError(f"{self.kind} {self.key}, {self.state}, has no {summary.__name__}")
        return self.summary

    @property
    def items(self) -> Path:
        """Path of the table with one row an item."""
        return self.directory / "items.parquet"
