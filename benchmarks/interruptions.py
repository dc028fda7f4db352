"""Kill -9 a study at random moments, run it again each time, and compare what comes out with an uninterrupted run.

    python benchmarks/interruptions.py --kills 10 --seed 0

A small study of the embedded model, two of whose three checkpoints are served by a real vLLM server. A study
that comes to its end between two kills begins anew in a folder of its own. Prints one line a kill, then whether keys, quantized
bytes, scores and speeds agree with the uninterrupted run's, and fails if a process of the study is left behind.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from interrupted import FinishedStep, exit_code, finished, leftovers

SPECIFICATION = """\
version: 1
name: interrupted
model: smollm2-135m-instruct
candidates:
  - {format: w8a8-int, recipe: {scales: minmax}, run: served}
  - {format: w8a8-fp, recipe: {scales: minmax}, run: emulated}
tasks:
  - {name: recall, limit: 120}
  - {name: order, limit: 120}
similarity: {limit: 4, max_tokens: 16, windows: 2, window_tokens: 64}
workloads:
  - {name: tiny-chat, prompt_tokens: 32, output_tokens: 8, concurrency: [2], requests_per_stream: 5}
rounds: 2
base_repeats: 2
max_length: 512
"""

COMMAND = [sys.executable, "-c", "from whichbits.cli.app import main; main()", "study", "spec.yaml"]


STORE = "studies/interrupted"


def started(folder: Path) -> Path:
    """A folder with the study's specification."""
    folder.mkdir()
    (folder / "spec.yaml").write_text(SPECIFICATION)
    return folder


def compare(whole: Path, broken: Path) -> list[str]:
    """What differs between the stores of two finished runs; prints how the scores compare with the noise floor."""
    ours, theirs = finished(whole), finished(broken)
    problems = []
    if ours.keys() != theirs.keys():
        problems.append(f"keys differ: {sorted(ours.keys() ^ theirs.keys())}")
    flips = items = noise = noise_items = 0
    for key in ours.keys() & theirs.keys():
        one, other = ours[key], theirs[key]
        if one.checkpoint != other.checkpoint:
            problems.append(f"bytes differ: {one.labels}")
        if one.kind == "evaluate":
            items += one.items.num_rows
            flips += changed(one, other)
            if one.labels.repeat == 1:
                labels = one.labels.model_copy(update={"repeat": 0})
                first = next(step for step in ours.values() if (step.kind, step.labels) == ("evaluate", labels))
                noise_items += one.items.num_rows
                noise += changed(one, first)
    print(f"{len(ours)} keys; items scored differently: {flips} of {items}; the base run twice: {noise} of {noise_items}")
    if flips / items > max(noise / noise_items, 1 / items):
        problems.append("scores differ by more than the noise floor")
    fast, slow = speeds(whole), speeds(broken)
    apart = [load for load in fast if fast[load][0] > slow[load][1] or slow[load][0] > fast[load][1]]
    print(f"{len(fast)} speeds, {len(fast) - len(apart)} with intervals that overlap")
    problems += [f"speeds differ: {load}, {fast[load]} and {slow[load]}" for load in apart]
    return problems


def speeds(store: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Interval of the requests per second of each candidate at each load."""
    found = json.loads((store / "verdict.json").read_text())["speed"]
    return {
        (finding["candidate"], finding["load_level"]): (finding["estimate"]["low"], finding["estimate"]["high"])
        for finding in found
        if finding["metric"] == "requests_per_second"
    }


def changed(one: FinishedStep, other: FinishedStep) -> int:
    """Items whose scores differ."""
    scores = (step.items.column("score").to_pylist() for step in (one, other))
    return sum(a != b for a, b in zip(*scores, strict=True))


def main() -> int:
    """Run the studies; 1 if they differ or something is left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    kills, chance = given.kills, random.Random(given.seed)
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="whichbits-") as name:
        whole = started(Path(name) / "whole")
        began = time.monotonic()
        subprocess.run(COMMAND, cwd=whole, check=True, stdout=subprocess.DEVNULL)
        usual = time.monotonic() - began
        print(f"uninterrupted: {usual:.0f} s, {len(finished(whole / STORE))} steps", flush=True)
        broken = started(Path(name) / "broken-0")
        killed = 0
        while killed < kills:
            process = subprocess.Popen(COMMAND, cwd=broken, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait = chance.uniform(1, usual / 2)
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                killed += 1
                process.send_signal(signal.SIGKILL)
                process.wait()
                left = leftovers(broken)
                done = len(finished(broken / STORE))
                print(f"kill {killed} after {wait:.0f} s: {done} steps done, {len(left)} processes left", flush=True)
                problems += left
            else:
                problems += compare(whole / STORE, broken / STORE)
                broken = started(Path(name) / f"broken-{killed}")
        subprocess.run(COMMAND, cwd=broken, check=True, stdout=subprocess.DEVNULL)
        problems += compare(whole / STORE, broken / STORE)
    return exit_code(problems)


if __name__ == "__main__":
    sys.exit(main())
