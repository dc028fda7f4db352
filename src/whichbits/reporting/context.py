"""What the report says with the verdict: what was run, on what, with which versions, and every step."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, field_validator

from whichbits.schema.summary import Summary
from whichbits.verdict.estimates import Estimate, Frozen


class Engine(Frozen):
    """An engine that steps ran in."""

    name: str
    version: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)


class Price(Frozen):
    """One price that costs were computed with."""

    hardware: str
    per_hour: float
    """US dollars."""
    source: str
    as_of: str
    """Date the price was read, ISO 8601."""


class PublishedComparison(Frozen):
    """What a paper or model card says of the same base model in a candidate's format, next to what was found here."""

    candidate: str
    on: str
    """Suite, task, or prompts."""
    quantity: str
    """recovery, or a measure of similarity."""
    own: Estimate | None
    """What was found here, %, or in the measure's unit; None where it was not measured, or says nothing."""
    own_tasks: tuple[str, ...] = ()
    """The tasks that `own` rests on, where the published figure is of a suite."""
    published: float
    """As printed, or where only scores are, as these give it, to two digits; corrected where an error is known."""
    above_chance: float | None = None
    """The recovery, %, with the study's chance level taken off both scores; None where that changes nothing."""
    source: str
    erratum: str | None = None
    """What is wrong with the figure as it is printed."""


class TextPair(Frozen):
    """What the base and a candidate write to one prompt, where that is least alike."""

    candidate: str
    prompts: str
    """Set of prompts."""
    item: str
    """The prompt's name."""
    measure: str
    """By which they are least alike."""
    value: float
    alike: str
    """With what both begin; the end of that where it is long."""
    base: str
    """How the base goes on, at most as far as a report has room."""
    text: str
    """How the candidate goes on."""
    step: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StepEntry(Frozen):
    """One step of the study, as the list at the end of the report shows it."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    kind: str
    labels: dict[str, str] = Field(default_factory=dict)
    state: Literal["done", "failed", "missing"]
    seconds: float | None = None
    summary: SerializeAsAny[Summary] | None = None
    directory: str
    """Relative to the store, with forward slashes."""
    error: str | None = None

    @field_validator("directory")
    @classmethod
    def _inside_the_store(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{value!r} does not lie in the store")
        return value


class ReportContext(Frozen):
    """Everything of the report that is not in the verdict."""

    study: str
    model: str
    """Reference of the base model: a hub id with its revision, a path, or the embedded model's name."""
    model_notes: tuple[str, ...] = ()
    """What a reader must know of the model, e.g. 'weights dequantized from Q4_1'."""
    hardware: str
    engines: tuple[Engine, ...] = ()
    date: datetime
    seeds: dict[str, int] = Field(default_factory=dict)
    """Seed by purpose."""
    specification: str
    """The study's specification, as YAML."""
    serve: dict[str, str] = Field(default_factory=dict)
    """The command that serves each candidate whose checkpoint is here."""
    commands: tuple[str, ...] = ()
    """Exact command lines that do this study again."""
    steps: tuple[StepEntry, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall-clock seconds by kind of step."""
    whichbits_version: str
    price_list: str | None = None
    """Name of the price list; None where costs are relative only."""
    prices: tuple[Price, ...] = ()
    published: tuple[PublishedComparison, ...] = ()
    """What is published of the same base model."""
    texts: tuple[TextPair, ...] = ()
    """Texts that are least like the base's."""
