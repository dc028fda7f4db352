"""What the Ray executor adds to a study's work: many steps that only sleep, on a cluster of one node on this machine.

    python benchmarks/cluster_overhead.py [--steps 1000] [--seconds 1.0] [--slots 16]

Prints the wall-clock time from the first step's start to the last one's end, over the lower bound (steps × seconds / slots),
and what comes before: connecting, the examination of the node, and the start of a worker for each slot. The steps run as those
of a study do: a process of its own each, whose result is filed in a store.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whichbits.schema.inputs import Inputs
from whichbits.schema.step import Step
from whichbits.schema.summary import Summary
from whichbits.studies.execution.executors import EXECUTORS
from whichbits.studies.execution.placement import Machine
from whichbits.studies.execution.runner import Runner
from whichbits.studies.execution.servers import NoEngine
from whichbits.studies.planning.plan import Plan
from whichbits.studies.specification.schema import Specification
from whichbits.studies.steps.planned import Needs, Planned
from whichbits.studies.steps.step import Job, Kind, Result, StepContext
from whichbits.studies.store.store import Store


class Sleep(Inputs):
    """How long, and which of many."""

    number: int
    seconds: float


class Meet(Inputs):
    """A folder where as many steps meet as there are slots."""

    number: int
    folder: str
    count: int


class Slept(Summary, kind="sleep"):
    """Nothing to say."""


def sleep(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Sleep."""
    for job in jobs:
        time.sleep(job.step.inputs_as(Sleep).seconds)
        yield job, Result(Slept())


def meet(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Wait until every slot has its worker."""
    for job in jobs:
        asked = job.step.inputs_as(Meet)
        (Path(asked.folder) / str(asked.number)).touch()
        while len(list(Path(asked.folder).iterdir())) < asked.count:
            time.sleep(0.1)
        yield job, Result(Slept())


@dataclass
class Clock:
    """When steps of the warm-up and of the measurement began and ended."""

    began: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)

    def added(self, steps: Sequence[Planned]) -> None:
        """They are known."""

    def started(self, step: Step) -> None:
        """Note it."""
        self.began[step.key] = time.monotonic()

    def progress(self, step: Step, text: str) -> None:
        """There is none."""

    def ended(self, step: Step, state: str, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None:
        """Note it."""
        assert state == "done", error
        self.ended_at[step.key] = time.monotonic()

    def note(self, text: str) -> None:
        """Print it."""
        print(text, file=sys.stderr)


def planned(kind: str, inputs: Inputs) -> Planned:
    """A step of one processor."""
    return Planned(Step(kind, 1, inputs), Needs(compute=False))


def main() -> None:
    """Measure, and print a row."""
    from ray.cluster_utils import Cluster  # not at the top: each step's process imports this module

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--slots", type=int, default=16)
    chosen = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
    node = {"num_cpus": chosen.slots, "include_dashboard": False, "object_store_memory": 200 * 2**20}
    node["_system_config"] = {"worker_niceness": 0}  # other programs of this machine are not what is measured
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        measure(chosen.steps, chosen.seconds, chosen.slots, cluster.address)
    finally:
        cluster.shutdown()


def measure(count: int, seconds: float, slots: int, address: str) -> None:
    """Run the steps once every slot has a worker."""
    import cluster_overhead as importable  # the module by the name that the node can import

    specification = Specification.model_validate({"version": 1, "name": "overhead", "model": "none", "candidates": ["none"]})
    runs = {"meet": importable.meet, "sleep": importable.sleep}
    kinds = {name: Kind(name, 1, lambda study, before: iter(()), run) for name, run in runs.items()}
    clock = Clock()
    steps = [importable.planned("sleep", importable.Sleep(number=number, seconds=seconds)) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as place:
        warm = [
            importable.planned("meet", importable.Meet(number=number, folder=place, count=slots)) for number in range(slots)
        ]
        store = Store(Path(folder))
        executor = EXECUTORS.get("ray")
        executor.connect(address)
        plans = [Plan(specification, "bf16", tuple(each), {}) for each in (warm, steps)]
        began = time.monotonic()
        following = iter(plans[1:])
        with store.locked():
            Runner(
                plans[0], store, kinds, executor, NoEngine(), clock, Machine(serves=False), ("cluster_overhead",),
                more=lambda: next(following, None),
            ).run()  # fmt: skip
    keys = [one.step.key for one in steps]
    first, last = min(clock.began[key] for key in keys), max(clock.ended_at[key] for key in keys)
    bound = -(-count // slots) * seconds
    over = last - first - bound
    print(f"{count} steps of {seconds:g} s on {slots} slots: {last - first:.1f} s, the lower bound {over / bound:+.1%}")
    print(f"{1000 * over * slots / count:.1f} ms a step and slot; before the first: {first - began:.1f} s")


if __name__ == "__main__":
    main()
