"""Time and memory of verdict and report over a large study: 12 checkpoints, 500,000 items each.

    python benchmarks/large_store.py [--items 500000] [--tasks 20] [--checkpoints 12] [--store DIR]

Writes a store of synthetic evaluations by the functions that a study writes its own with. Then runs `whichbits report` on it,
which judges every result and writes verdict.json, changed_items.jsonl and report.html, and `whichbits recommend`, which reads
the verdict. Prints the seconds of each and its largest resident memory.

A third of the tasks have items in clusters of 5, 4 % of the answers change, and the base is scored a second time. A store that
`--store` names is kept, and used again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from whichbits.schema.evaluate import EvaluateItem, EvaluateSummary, Imported, ImportedInputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.store.manifest import FILE, SCHEMA, StudyManifest, entries
from whichbits.studies.store.store import Store

BASE = "bf16"
CHANGED = 0.04
"""Share of the answers that a candidate changes, right and wrong ones alike."""
LETTERS = "ABCD"


def rows(task: str, right: np.ndarray, clustered: bool) -> Iterator[EvaluateItem]:
    """Multiple-choice items, in an order that is not that of their names."""
    for number in np.random.default_rng(0).permutation(len(right)):
        item, target = f"{task}-{number}", LETTERS[number % 4]
        hashed = hashlib.sha256(item.encode()).hexdigest()
        prediction = target if right[number] else LETTERS[(number + 1) % 4]
        cluster = f"{task}-passage-{number // 5}" if clustered else item
        yield EvaluateItem(item, hashed, hashed[::-1], cluster, float(right[number]), prediction, target)


def evaluation(store: Store, candidate: str, task: str, repeat: int, right: np.ndarray, clustered: bool) -> Step:
    """A finished step of the store."""
    named = Imported(tool="synthetic", task=f"{task} {repeat}", metric="acc", rows="", model=candidate)
    labels = Labels(candidate=candidate, task=task, engine="vllm", repeat=repeat)
    step = Step("evaluate", 1, ImportedInputs(imported=named), labels=labels)
    partial = store.partial(step)
    write_items(partial, list(rows(task, right, clustered)))
    score = float(right.mean())
    found = EvaluateSummary(
        task=task, kind="synthetic", metric="acc", n=len(right), available=len(right), most=len(right), score=score, chance=0.25
    )
    store.finish(step, partial, found, Provenance(tool="synthetic"))
    return step


def write_store(folder: Path, items: int, tasks: int, checkpoints: int) -> None:
    """The study: `items` of each checkpoint in all, the same number in every task."""
    store, rng = Store(folder), np.random.default_rng(1)
    runs = [(BASE, 0), (BASE, 1), *((f"candidate-{number:02}", 0) for number in range(1, checkpoints))]
    steps = []
    for number in range(tasks):
        task = f"task-{number:02}"
        of_base = rng.random(items // tasks) < rng.uniform(0.5, 0.85)
        for name, repeat in runs:
            changed = (rng.random(len(of_base)) < CHANGED) & ((name, repeat) != (BASE, 0))
            steps.append(evaluation(store, name, task, repeat, of_base ^ changed, clustered=number % 3 == 0))
        print(f"\rwrote {task}", end="", file=sys.stderr)
    print(file=sys.stderr)
    StudyManifest(
        schema_version=SCHEMA, study="large", specification="", command="", model="synthetic", notes=(), base=BASE,
        formats={name: name for name, repeat in runs if not repeat}, margin=0.01, seed=0, hardware="none", engines=(),
        workloads={}, deployments={}, prices="default", steps=entries(steps), version="0",
    ).write(folder)  # fmt: skip


def measured(*arguments: str) -> tuple[float, float, float]:
    """Wall-clock seconds, seconds of a processor, and the largest resident memory, in MB, of a command of whichbits'."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "whichbits", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"whichbits {' '.join(arguments)} ended with {process.returncode}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Write the store, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=500_000, help="of each checkpoint, over all tasks")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--checkpoints", type=int, default=12, help="the base among them")
    parser.add_argument("--store", type=Path, help="keep the store there")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.store or Path(temporary)
        if not (folder / FILE).is_file():
            write_store(folder, chosen.items, chosen.tasks, chosen.checkpoints)
        print(f"{chosen.checkpoints} checkpoints, {chosen.items:,} items each in {chosen.tasks} tasks")
        for command in ("report", "recommend"):
            seconds, computing, megabytes = measured(command, str(folder))
            print(f"whichbits {command}: {seconds:.1f} s, {computing:.1f} s of a processor, {megabytes:,.0f} MB")


if __name__ == "__main__":
    main()
