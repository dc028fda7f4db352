"""A study of 10,000 steps in 1,000,000 shards on up to 1,024 workers that fail and straggle, on a simulated clock.

    python benchmarks/simulated_cluster.py [--workers 64 256 1024] [--steps 10000] [--shards 1000000] [--dispatch-ms 1]

The scheduler is the real one (`whichbits.studies.execution.runner`); its executor is simulated. One step in 20 makes a
checkpoint, the others evaluate one in shards and put these together. Prints the makespan over its lower bound (the larger of
all work over the workers, and the longest chain), and what the workers' time went to.

A worker is lost once in `--mtbf-h` hours of its time and is back after 10 minutes; its work runs elsewhere, thrice at most.
Of all work 1 % takes 5 times as long as it should. The one driver takes `--dispatch-ms` for each piece that it hands out.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.executor import Executor, Services, StepFailed, Work
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.runner import Runner
from whichbits.studies.execution.servers import NoEngine
from whichbits.studies.planning.plan import Plan
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import COMPUTE, Planned
from whichbits.studies.steps.step import Kind, Result
from whichbits.studies.store.store import Store

ATTEMPTS = 3
BACK_S = 600.0
STRAGGLERS, STRAGGLING = 0.01, 5.0
EVALUATIONS = 19
"""Of each checkpoint."""
QUANTIZE_S, SHARD_S, MERGE_S = 1200.0, 10.0, 1.0
"""Medians; lognormal, with a standard deviation of the logarithm of a half."""


class Numbered(Inputs):
    """Which of many."""

    number: int


class Nothing(Summary, kind="simulated"):
    """Nothing to say."""


RESULT = Result(Nothing())
LABELS = Labels(candidate="simulated")


class Empty(Store):
    """A store without a result: nothing is written, so nothing need be looked up."""

    def done(self, step: Step) -> bool:
        """Nothing is."""
        return False


class Silent:
    """Is told what happens, and says nothing."""

    def added(self, steps: Sequence[Planned]) -> None:
        """Nothing."""

    def started(self, step: Step) -> None:
        """Nothing."""

    def progress(self, step: Step, text: str) -> None:
        """Nothing."""

    def ended(self, step: Step, state: str, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass
class Study:
    """The plan, and how long each of its steps takes, by key."""

    rng: np.random.Generator
    planned: list[Planned] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    chains: dict[str, float] = field(default_factory=dict)
    """Seconds of the longest chain that ends with a step, by its key."""

    def add(self, kind: str, median: float, reads: Sequence[Step] = ()) -> Step:
        """A step that reads these."""
        step = Step(kind, 1, Numbered(number=len(self.planned)), labels=LABELS)
        factor = STRAGGLING if self.rng.random() < STRAGGLERS else 1.0
        self.seconds[step.key] = seconds = median * float(np.exp(0.5 * self.rng.standard_normal())) * factor
        self.chains[step.key] = seconds + max((self.chains[one.key] for one in reads), default=0.0)
        self.planned.append(Planned(step, COMPUTE, {str(number): one for number, one in enumerate(reads)}))
        return step

    def fill(self, steps: int, shards: int) -> None:
        """Checkpoints with their evaluations."""
        evaluations = steps * EVALUATIONS // (EVALUATIONS + 1)
        checkpoints = max(1, steps - evaluations)
        for number in range(evaluations):
            if number % EVALUATIONS == 0 and number // EVALUATIONS < checkpoints:
                made = self.add("quantize", QUANTIZE_S)
            each = shards * (number + 1) // evaluations - shards * number // evaluations
            parts = [self.add("shard", SHARD_S, [made]) for _ in range(each)]
            self.add("merge", MERGE_S, parts)

    def bound(self, workers: int) -> float:
        """No schedule is shorter, on workers that never fail."""
        return max(sum(self.seconds.values()) / workers, max(self.chains.values()))


@dataclass
class Piece:
    """A step on its way."""

    key: str
    future: Future[Result]
    attempts: int = 0


@dataclass
class Spent:
    """Seconds of the workers' time."""

    useful: float = 0.0
    lost: float = 0.0
    """Of work whose worker was lost."""
    down: float = 0.0


@dataclass
class SimulatedExecutor(Executor):
    """Workers on a simulated clock, one piece of work each, first come, first served."""

    seconds: dict[str, float]
    workers: int
    dispatch_s: float
    mtbf_s: float
    rng: np.random.Generator
    now: float = 0.0
    spent: Spent = field(default_factory=Spent)
    all_busy: list[float] = field(default_factory=list)
    """When every worker was at work or down: the first time and the last."""
    _driver: float = 0.0
    """Until when the driver is handing out."""
    _queue: deque[Piece] = field(default_factory=deque)
    _events: list[tuple[float, int, int, Piece | None, bool]] = field(default_factory=list)
    """Time, number, worker, what it worked on, and whether it was lost."""

    def start(self, services: Services) -> None:
        """All workers are free."""
        self._free = list(range(self.workers))
        self._fails = self.rng.exponential(self.mtbf_s, self.workers)

    def submit(self, work: Work) -> tuple[Future[Result], ...]:
        """Queue it."""
        (planned,) = work.steps
        piece = Piece(planned.step.key, Future())
        self._queue.append(piece)
        return (piece.future,)

    def stop(self) -> None:
        """Nothing is left."""

    def advance(self) -> None:
        """Move the clock until a piece of work has ended."""
        while True:
            while self._queue and self._free:
                self._begin(self._queue.popleft(), self._free.pop())
            if not self._free:
                self.all_busy = [self.all_busy[0] if self.all_busy else self.now, self.now]
            self.now, _, worker, piece, lost = heapq.heappop(self._events)
            if lost:
                self._fails[worker] = self.now + BACK_S + self.rng.exponential(self.mtbf_s)
                self.spent.down += BACK_S
                self._push(self.now + BACK_S, worker, None, lost=False)
            else:
                self._free.append(worker)
            if piece is None:
                continue
            if not lost:
                piece.future.set_result(RESULT)
                return
            if piece.attempts >= ATTEMPTS:
                piece.future.set_exception(StepFailed("lost"))
                return
            self._queue.appendleft(piece)

    def _begin(self, piece: Piece, worker: int) -> None:
        if self._fails[worker] <= self.now:  # it was lost while it had nothing to do
            self._queue.appendleft(piece)
            self._push(self.now, worker, None, lost=True)
            return
        piece.attempts += 1
        self._driver = begins = max(self._driver, self.now) + self.dispatch_s
        ends = begins + self.seconds[piece.key]
        lost = bool(self._fails[worker] < ends)
        if lost:
            ends = float(max(self._fails[worker], begins))
            self.spent.lost += ends - begins
        else:
            self.spent.useful += ends - begins
        self._push(ends, worker, piece, lost=lost)

    def _push(self, at: float, worker: int, piece: Piece | None, *, lost: bool) -> None:
        self._number = getattr(self, "_number", 0) + 1
        heapq.heappush(self._events, (at, self._number, worker, piece, lost))


class Finished(SimpleQueue):
    """What has ended; whoever waits for it lets the simulated clock go on."""

    executor: SimulatedExecutor

    def get(self, block: bool = True, timeout: float | None = None) -> object:
        """The next that has ended."""
        if self.empty():
            self.executor.advance()
        return self.get_nowait()


def no_plan(study: object, before: Sequence[Planned]) -> Iterator[Planned]:
    """The plan is made here."""
    return iter(())


def simulate(study: Study, workers: int, dispatch_s: float, mtbf_s: float) -> str:
    """A row of the table."""
    executor = SimulatedExecutor(study.seconds, workers, dispatch_s, mtbf_s, np.random.default_rng(workers))
    finished = Finished()
    finished.executor = executor
    kinds = {name: Kind(name, 1, no_plan, lambda jobs, context: iter(())) for name in ("quantize", "shard", "merge")}
    specification = Specification.model_validate({"version": 1, "name": "simulated", "model": "none", "candidates": ["none"]})
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(specification, "bf16", tuple(study.planned), {})
        runner = Runner(
            plan, Empty(Path(folder)), kinds, executor, NoEngine(), Silent(), Machine(serves=False), finished=finished
        )
        began = time.process_time()
        states = runner.run()
        own = time.process_time() - began
    bound, total = study.bound(workers), workers * executor.now
    first, last = executor.all_busy or (0.0, 0.0)
    idle = total - executor.spent.useful - executor.spent.lost - executor.spent.down
    failed = sum(state == "failed" for state in states.values())
    shares = " | ".join(f"{100 * part / total:.1f} %" for part in (executor.spent.lost + executor.spent.down, idle))
    return (
        f"| {workers:,} | {executor.now / 3600:.2f} h | {100 * (executor.now / bound - 1):.1f} % | {shares} "
        f"| {first / 60:.0f} min | {(executor.now - last) / 60:.0f} min | {failed} | {1e6 * own / len(states):.0f} µs |"
    )


def main() -> None:
    """Simulate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=1_000_000)
    parser.add_argument("--dispatch-ms", type=float, default=1.0)
    parser.add_argument("--mtbf-h", type=float, default=24.0, help="mean time of a worker between two losses")
    chosen = parser.parse_args()
    study = Study(np.random.default_rng(0))
    study.fill(chosen.steps, chosen.shards)
    work, chain = sum(study.seconds.values()) / 3600, max(study.chains.values()) / 3600
    print(f"{len(study.planned):,} pieces of work, {work:,.0f} hours in all, {chain:.2f} hours in the longest chain\n")
    print("| workers | makespan | over the lower bound | lost and down | idle | first all busy | last all busy before the end "
          "| steps failed | scheduler, a piece |")  # fmt: skip
    print("|" + "---|" * 9)
    for workers in chosen.workers:
        print(simulate(study, workers, chosen.dispatch_ms / 1000, 3600 * chosen.mtbf_h), flush=True)


if __name__ == "__main__":
    main()
