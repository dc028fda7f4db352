"""Kill nodes of a Ray cluster, and a study's command, at random moments, and compare what comes out with one machine's.

    python benchmarks/cluster_interruptions.py --nodes 20 --commands 10 --seed 0

Three raylets on this machine. The study scores and compares three emulated checkpoints of the embedded model. At a random
moment one of the two nodes that are not the first gets SIGKILL with all that it has started, and a new one joins some seconds
later; or the command gets it. The same command is then run until the study is whole, and the next one begins in another store.
Prints a line a kill, and of each study in how many steps the summary, the items or the bytes of the checkpoint differ from
those of an uninterrupted run without a cluster. Fails if one does, or a process of a study is left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPECIFICATION = """\
version: 1
name: interrupted
model: smollm2-135m-instruct
candidates:
  - {format: w8a8-int, recipe: {scales: minmax}, run: emulated}
  - {format: w8a8-fp, recipe: {scales: minmax}, run: emulated}
  - {format: w4a16-int, recipe: {scales: minmax}, run: emulated}
tasks:
  - {name: recall, limit: 20}
  - {name: order, limit: 20}
  - {name: copy, limit: 20}
similarity: {limit: 4, max_tokens: 16, windows: 2, window_tokens: 64, measures: [kl]}
base_repeats: 1
max_length: 512
"""
STUDY = [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--store"]
NODE = {"num_cpus": len(os.sched_getaffinity(0)), "object_store_memory": 80 * 2**20, "include_dashboard": False}
SEEN_GONE = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 16,
    "worker_niceness": 0,
}


def started_by(parent: int) -> list[int]:
    """A process, and all that it has started, as far as their parents live."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(above, []).append(int(entry.name))
    found = [parent]
    for pid in found:
        found += children.get(pid, [])
    return found


def leftovers(store: Path) -> list[int]:
    """Processes that work on the store, some seconds after the command has ended."""
    deadline = time.monotonic() + 30
    while (found := list(_at_work(store))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _at_work(store: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment, state = (
                    (entry / "environ").read_bytes(),
                    (entry / "stat").read_text().rpartition(")")[2].split()[0],
                )
            except OSError:
                continue
            if state not in "ZX" and b"WHICHBITS_STORE=" in environment and str(store).encode() in environment:
                yield int(entry.name)


def results(store: Path) -> dict[str, Any]:
    """What each step found, by key: its summary, the rows of its items, digests of its checkpoint."""
    import pyarrow.parquet

    found = {}
    for path in sorted(store.glob("steps/**/result.json")):
        result = json.loads(path.read_text())
        items = path.parent / "items.parquet"
        rows = pyarrow.parquet.read_table(items).to_pylist() if items.exists() else []
        tensors = sorted(path.parent.glob("checkpoint/*.safetensors"))
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in tensors]
        found[result["key"]] = (result["kind"], result["summary"], rows, digests)
    return found


class Nodes:
    """A cluster whose nodes are killed and replaced; the first, which the study's command belongs to, lives."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": SEEN_GONE})
        self.address = self.cluster.address
        for _ in range(2):
            self.add()
        self.cluster.wait_for_nodes()

    def add(self) -> None:
        """A node joins."""
        self.cluster.add_node(wait=False, **NODE)

    def kill(self, chance: random.Random) -> None:
        """One of them is gone, with all that it has started."""
        node = chance.choice([one for one in self.cluster.list_all_nodes() if not one.head])
        raylet = node.all_processes["raylet"][0].process.pid
        for pid in started_by(raylet):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.cluster.remove_node(node, allow_graceful=False)


def main() -> int:
    """Run the studies; 1 if their results differ or something is left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=20, help="nodes that are killed")
    parser.add_argument("--commands", type=int, default=10, help="commands that are killed")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    kills = ["node"] * asked.nodes + ["command"] * asked.commands
    chance.shuffle(kills)
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="whichbits-") as name:
        folder = Path(name)
        (folder / "spec.yaml").write_text(SPECIFICATION)
        began = time.monotonic()
        subprocess.run([*STUDY, "here"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        usual, expected = time.monotonic() - began, results(folder / "here")
        print(f"on one machine: {usual:.0f} s, {len(expected)} steps", flush=True)
        nodes, whole, number = Nodes(), 0, 0
        store = folder / "store-0"
        process: subprocess.Popen[bytes] | None = None
        while number < len(kills) or process is not None:
            if process is None:
                command = [*STUDY, store.name, "--executor", "ray", "--address", nodes.address]
                process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                code = process.wait(chance.uniform(2, usual / 2) if number < len(kills) else None)
            except subprocess.TimeoutExpired:
                number += 1
                if kills[number - 1] == "node":
                    nodes.kill(chance)
                    time.sleep(chance.uniform(0, 8))
                    nodes.add()
                    left = []
                else:
                    process.kill()
                    process.wait()
                    process, left = None, leftovers(store)
                print(
                    f"kill {number}, {kills[number - 1]}: {len(results(store))} steps done, {len(left)} processes left",
                    flush=True,
                )
                problems += [f"process {pid} is left of {store.name}" for pid in left]
                continue
            process = None
            if code == 0:
                whole += 1
                problems += [f"process {pid} is left of {store.name}" for pid in leftovers(store)]
                found = results(store)
                different = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
                problems += [f"step {key} of {store.name} differs" for key in different]
                print(f"{store.name} is whole: {len(found)} steps, {len(different)} differ from one machine's", flush=True)
                store = folder / f"store-{whole}"
            else:
                print("a step was lost three times: the same command again", flush=True)
        nodes.cluster.shutdown()
    print(f"{whole} studies were whole after {len(kills)} kills")
    for problem in problems:
        print(f"PROBLEM {problem}")
    print("ok" if not problems else f"{len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
