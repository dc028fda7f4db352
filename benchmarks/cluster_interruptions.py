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
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from interrupted import exit_code, finished, kill_with_children, leftovers

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
        kill_with_children(raylet)
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
        usual, expected = time.monotonic() - began, finished(folder / "here")
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
                    left: list[str] = []
                else:
                    process.kill()
                    process.wait()
                    process, left = None, leftovers(store)
                print(
                    f"kill {number}, {kills[number - 1]}: {len(finished(store))} steps done, {len(left)} processes left",
                    flush=True,
                )
                problems += left
                continue
            process = None
            if code == 0:
                whole += 1
                problems += leftovers(store)
                found = finished(store)
                different = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
                problems += [f"step {key} of {store.name} differs" for key in different]
                print(f"{store.name} is whole: {len(found)} steps, {len(different)} differ from one machine's", flush=True)
                store = folder / f"store-{whole}"
            else:
                print("a step was lost three times: the same command again", flush=True)
        nodes.cluster.shutdown()
    print(f"{whole} studies were whole after {len(kills)} kills")
    return exit_code(problems)


if __name__ == "__main__":
    sys.exit(main())
