"""`Kind`, which declares a kind of step, and what its steps are given, may ask for and return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Record, Step
from whichbits.schema.summary import Summary

if TYPE_CHECKING:
    from whichbits.accuracy.judging import JudgingWork
    from whichbits.studies.steps.forecast import Ask
    from whichbits.studies.steps.planned import Planned
    from whichbits.studies.steps.study import Study

TRANSFORMERS = (
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
)
"""What a kind preloads that runs models in transformers."""


@dataclass(frozen=True)
class Result:
    """What a step returns; tables and artifacts it has written into the job's directory."""

    summary: Summary
    provenance: Provenance = field(default_factory=Provenance)
    waited_s: float = 0.0
    """How long it waited for its turn at a server that other work was asking: no time of its own."""
    shards_s: float = 0.0
    """How long its shards took, where it merges them: time of its own."""


@dataclass(frozen=True)
class Earlier:
    """A result of the same step with fewer items."""

    items: int
    directory: Path
    summary: Summary
    seconds: float = 0.0
    """What its items took, over all runs."""


@dataclass(frozen=True)
class Job:
    """A step as its kind's function sees it."""

    step: Step
    directory: Path
    """Empty folder for artifacts; becomes the step's directory."""
    reads: Mapping[str, Path]
    """Directory of each step that it reads, by role."""
    servers: tuple[str, ...] = ()
    """Names of the candidates whose servers it may ask for."""
    cpus: frozenset[int] | None = None
    """Cores it may use; None for all."""
    kept: Path | None = None
    """Folder of its own for what is to outlive a killed run; it goes once the step is finished."""
    shared: Path | None = None
    """Folder for what later steps, of this run or another, can use too."""
    turns: Path | None = None
    """Folder where processes that ask one server take turns; None where no other asks."""
    earlier: Earlier | None = None
    """The items that need not be computed again, where there are some."""
    shards: tuple[Record, ...] = ()
    """The results of its shards, in their order, where it merges them."""


class ServerFailed(Exception):
    """A server that did not come up, or that has died; the message is its cause in one line."""


class ProcessLost(Exception):
    """Another process that has a share of the same work has ended: all of it is to run again."""


class StepContext(Protocol):
    """What a running function may ask of the runner."""

    def progress(self, text: str) -> None:
        """Say how far the work is."""
        ...

    def server(self, name: str) -> str:
        """Address of the candidate's server, started if need be. Raises ServerFailed."""
        ...


Run = Callable[[Sequence[Job], StepContext], Iterator[tuple[Job, Result | Exception]]]
"""Runs jobs of one kind and yields each as it ends: with its result, or with why it failed while the others go on."""


Planner = Callable[["Study", Sequence["Planned"]], Iterator["Planned"]]
"""The steps of one kind that a study needs; it is given those that are planned before."""

Seconds = Callable[[Step, "Ask"], float | None]
"""Predicted seconds of a step, by what the predictor answers for its checkpoint; None where that is not known."""


Estimate = Callable[["Study"], Callable[[Step], float | None]]
"""Predicted seconds of the steps of a study that run on this machine, by its own speed; they are asked in their order."""


@dataclass(frozen=True)
class Shards:
    """That the steps of a kind are shards of another's."""

    of: str
    """Name of the other kind."""
    split: Callable[[Step, int], tuple[Step, ...]]
    """The shards of one of its steps, so many; none where it is not split."""
    merge: Run
    """Makes the results of its steps of those of their shards, which each job has: what one run gives, in the same order."""


@dataclass(frozen=True)
class Kind:
    """A kind of step: one file of this folder.

    The version is raised by hand whenever something that `run` depends on changes in a way that can change a result.
    """

    name: str
    version: int
    plan: Planner
    run: Run
    seconds: Seconds | None = None
    """By the predictor of serving; None where it does not know them."""
    estimate: Estimate | None = None
    """By this machine's own speed. Where neither is there, only earlier runs tell."""
    judging: Callable[[Step], JudgingWork | None] | None = None
    """What a step asks of a judge, before it runs; None of a step that asks none."""
    preload: tuple[str, ...] = ()
    """Modules that take long to import, imported once before any job is forked."""
    former: Callable[[Any], Any] | None = None
    """A summary of an earlier version, as it is written now; None where all are read as they are."""
    together: Callable[[Step], str | None] | None = None
    """Steps for which it returns the same text are run together, in one process, as they share work; None runs alone."""
    shards: Shards | None = None
    """Of a kind whose steps are planned where another's are split, and by none of their own."""
