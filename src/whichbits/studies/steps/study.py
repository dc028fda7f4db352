"""What the plan of a kind of step may ask of the study: its specification, looked up on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from whichbits.accuracy.task import Task
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.hardware.this_machine import Hardware
    from whichbits.models.resolve import Model
    from whichbits.schema.engine import Emulation, EngineIdentity, ServingEngine
    from whichbits.schema.prefill_decode import PrefillDecode
    from whichbits.schema.serve import EarlierRuns
    from whichbits.schema.workload import Loads, Workload
    from whichbits.studies.specification.judge import JudgeChoice
    from whichbits.studies.specification.schema import Specification, TaskChoice
    from whichbits.studies.specification.source import Source
    from whichbits.studies.steps.planned import Planned
    from whichbits.studies.steps.subject import Subject


@dataclass(frozen=True)
class FurtherRound:
    """A round beyond those of the specification: at which loads of a workload a candidate is measured, beside the base."""

    repeat: int
    """Which round, from 0."""
    workload: str
    candidate: str
    loads: Loads
    earlier: EarlierRuns | None = None
    """Where the search for the capacity goes on, if it is among the loads."""


@dataclass(frozen=True)
class ImportedWorkload:
    """The speeds of one workload that another tool measured."""

    workload: Workload
    steps: tuple[Planned, ...]
    notes: tuple[str, ...]
    """Where they are from, and what is not known of them."""


class Study(Protocol):
    """A specification with its names looked up; planning gives it."""

    @property
    def specification(self) -> Specification:
        """What the user wants."""
        ...

    @property
    def judge(self) -> JudgeChoice | None:
        """The command line's judge, which comes before those of the specification."""
        ...

    @property
    def source(self) -> Source:
        """Its text, which knows the line of each field."""
        ...

    @property
    def data_dir(self) -> Path | None:
        """Folder of the data of public tasks; None where there is none."""
        ...

    @property
    def model(self) -> Model:
        """The base model, on this machine."""
        ...

    @property
    def matrices(self) -> frozenset[tuple[int, int]]:
        """[rows, columns] of the base's weights to quantize."""
        ...

    @property
    def base(self) -> str:
        """Name of the base."""
        ...

    @property
    def hardware(self) -> Hardware:
        """The machine."""
        ...

    @property
    def subjects(self) -> Sequence[Subject]:
        """The base, then the candidates in their order."""
        ...

    @property
    def tasks(self) -> Sequence[tuple[Task, TaskChoice]]:
        """Tasks with what the specification says of each."""
        ...

    @property
    def workloads(self) -> Sequence[Workload]:
        """Workloads, each within the model's context."""
        ...

    @property
    def imported_speeds(self) -> Sequence[ImportedWorkload]:
        """Speeds of workloads that another tool measured."""
        ...

    @property
    def prefill_decode(self) -> PrefillDecode | None:
        """Batches to measure prefill and decode with, their lengths settled; None where they are not measured apart."""
        ...

    def items_of(self, candidate: str, task: str) -> int | None:
        """How many items of a task are asked of a candidate by now; None where it is the specification that says."""
        ...

    @property
    def further_rounds(self) -> Sequence[FurtherRound]:
        """What is measured beyond the rounds of the specification, by now."""
        ...

    @property
    def max_length(self) -> int:
        """Longest request served, tokens."""
        ...

    @property
    def command(self) -> EngineCommand | None:
        """How the engine is started; None where addresses are given, or nothing is served."""
        ...

    @property
    def serving(self) -> ServingEngine:
        """The serving engine as part of a key."""
        ...

    @property
    def emulation(self) -> Emulation:
        """The emulation as part of a key."""
        ...

    def server_of(self, candidate: str) -> EngineIdentity | None:
        """Who answers for a candidate at an address of the user's; None where its server is started here."""
        ...
