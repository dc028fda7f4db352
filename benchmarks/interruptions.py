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


def results(store: Path) -> dict[str, dict]:
    """`result.json` of each finished step by key, with the scores of its items."""
    import pyarrow.parquet

    found = {}
    for path in store.glob("steps/**/result.json"):
        result = json.loads(path.read_text())
        if result["kind"] == "evaluate":
            result["scores"] = pyarrow.parquet.read_table(path.parent / "items.parquet").column("score").to_pylist()
        found[result["key"]] = result
    return found


def leftovers(folder: Path) -> list[str]:
    """Processes whose command line or environment names the study's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != 0:
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in text:
                found.append(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()[:80]}")
    return found


def compare(whole: Path, broken: Path) -> list[str]:
    """What differs between the stores of two finished runs; prints how the scores compare with the noise floor."""
    ours, theirs = results(whole), results(broken)
    problems = []
    if ours.keys() != theirs.keys():
        problems.append(f"keys differ: {sorted(ours.keys() ^ theirs.keys())}")
    flips = items = noise = noise_items = 0
    for key in ours.keys() & theirs.keys():
        one, other = ours[key], theirs[key]
        if one["kind"] == "quantize" and one["summary"]["files"] != other["summary"]["files"]:
            problems.append(f"bytes differ: {one['labels']}")
        if one["kind"] == "evaluate":
            items += len(one["scores"])
            flips += changed(one, other)
            if one["labels"]["repeat"] == "1":
                first = next(r for r in ours.values() if r["labels"] == {**one["labels"], "repeat": "0"} and "scores" in r)
                noise_items += len(one["scores"])
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


def changed(one: dict, other: dict) -> int:
    """Items whose scores differ."""
    return sum(a != b for a, b in zip(one["scores"], other["scores"], strict=True))


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
        print(f"uninterrupted: {usual:.0f} s, {len(results(whole / STORE))} steps", flush=True)
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
                deadline = time.monotonic() + 20
                while (left := leftovers(broken)) and time.monotonic() < deadline:
                    time.sleep(0.2)
                done = len(results(broken / STORE))
                print(f"kill {killed} after {wait:.0f} s: {done} steps done, {len(left)} processes left", flush=True)
                problems += left
            else:
                problems += compare(whole / STORE, broken / STORE)
                broken = started(Path(name) / f"broken-{killed}")
        subprocess.run(COMMAND, cwd=broken, check=True, stdout=subprocess.DEVNULL)
        problems += compare(whole / STORE, broken / STORE)
    for problem in problems:
        print(f"PROBLEM {problem}")
    print("ok" if not problems else f"{len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
