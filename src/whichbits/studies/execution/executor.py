"""Where steps run: an executor takes work and gives futures. Processes of this machine are one, a cluster can be another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from whichbits.core.errors import UserError
from whichbits.schema.step import Step
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.servers import Engine
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.step import Result, Run
from whichbits.studies.store.store import Store


@dataclass(frozen=True)
class Work:
    """Steps of one kind that run together in one process, as they share what they compute.

    It can be pickled, and holds nothing of the machine that planned it but each step's arguments of that machine.
    """

    run: Run
    """The kind's function, of a module that can be imported where it runs."""
    steps: tuple[Planned, ...]
    beside: bool = False
    """Whether another process of the same work files its results, and this one only has a share of it."""


class StepFailed(Exception):
    """A step that gave no result, with the cause in one line and how long it took. It is filed in the store."""

    def __init__(self, cause: str, seconds: float = 0.0) -> None:
        super().__init__(cause, seconds)
        self.cause = cause
        self.seconds = seconds


class StepServices(Protocol):
    """What a study offers to its running steps; called from any thread."""

    def started(self, step: Step) -> None:
        """The step has begun to run."""
        ...

    def progress(self, step: Step, text: str) -> None:
        """The step says how far it is."""
        ...

    def server(self, name: str) -> str:
        """Address of a candidate's server, started if it is not up. Raises ServerFailed."""
        ...

    def server_failure(self, name: str) -> str | None:
        """Why a candidate's server has died, in one line; None while it lives, or where it was not started."""
        ...

    def server_silent(self, name: str) -> None:
        """A candidate's server has not answered in time: it is started anew before it is asked again."""
        ...


class Services(StepServices, Protocol):
    """What a study offers to the executor that works for it."""

    @property
    def store(self) -> Store:
        """Where results go, and what steps read comes from."""
        ...

    @property
    def machine(self) -> Machine:
        """What this machine has; for those that run work on it."""
        ...

    @property
    def preload(self) -> Sequence[str]:
        """Modules that steps take long to import."""
        ...

    def note(self, text: str) -> None:
        """Something has happened that people should know."""
        ...

    def free_device(self) -> None:
        """Stop all servers: what is about to run needs their memory, and nothing runs that asks them."""
        ...


class Executor(ABC):
    """Runs work somewhere: an own subclass is named by `--executor`, an installed package's by an entry point.

    Whatever runs work does so by `worker.run_work`, which files results in the store.
    """

    def connect(self, address: str | None) -> None:
        """Use the cluster at this address, before it starts. Raises UserError where it has none."""
        if address is not None:
            raise UserError(
                f"executor: {type(self).__name__} runs on this machine, and has no address {address!r}",
                remedy="leave the address out, or choose the executor `ray`",
            )

    def share(self, nodes: int, field: str) -> None:
        """Be ready for steps or servers that so many nodes share, by a field of the specification, before it starts.

        Raises UserError where it does not run them so.
        """
        if nodes > 1:
            raise UserError(
                f"{field}: {nodes}, and {type(self).__name__} runs each step and server on one machine",
                remedy=f"leave {field.rpartition('.')[2]} out, or choose the executor `ray`",
            )

    @abstractmethod
    def start(self, services: Services) -> None:
        """Get ready for one run of a study."""

    @abstractmethod
    def submit(self, work: Work) -> tuple[Future[Result], ...]:
        """Queue work that could run now.

        Each of its steps has a future: its result once that is filed, StepFailed, or an error of the store.
        """

    @abstractmethod
    def stop(self) -> None:
        """Kill what runs and drop what is queued, if anything is left; every future is done afterwards."""

    def places(self) -> int:
        """How many steps can compute at once, or servers be up, once this has started: long steps are split for as many."""
        return 1

    def engine(self, configured: Engine) -> Engine:
        """What starts servers, once this has started: by default on this machine, as it is configured."""
        return configured

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of what servers needed too, once all of them have stopped."""
