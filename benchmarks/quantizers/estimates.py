"""What `whichbits quantize --dry-run` says beside what the same command then takes.

    python benchmarks/quantizers/estimates.py WORK [--model M] [--format F...] [--effort E...] [--samples N] [--length L]

Prints a row for each format and effort. Time is wall clock less that of the dry run, which is mostly what starting and
importing takes; memory is the highest anonymous, less that of the dry run; disk is the finished weights, and the most that the
folder held meanwhile. Calibrated on random tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
from contextlib import suppress
from pathlib import Path

from measured import measured

PROGRAM = (sys.executable, "-c", "from whichbits.cli.app import main; main()", "quantize")
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "GB": 1e9}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--format", nargs="+", default=["w4a16-int"])
    parser.add_argument("--effort", nargs="+", default=["fast", "balanced"])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    titles = ("seconds", "memory, MB", "disk, MB", "at most, MB")
    print("| format | effort | " + " | ".join(f"{title}: said | taken" for title in titles) + " |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for format in given.format:
        for effort in given.effort:
            out = given.work / f"{format}-{effort}"
            shutil.rmtree(out, ignore_errors=True)
            options = ["--calibration", "random", "--samples", given.samples, "--seq-length", given.length, "--effort", effort]
            command = [*PROGRAM, given.model, "--format", format, "--out", out, *map(str, options), "--json"]
            said_log, log = given.work / "said.txt", given.work / "log.txt"
            idle = measured([*command, "--dry-run"], environment=environment, log=said_log)
            (said,) = json.loads(said_log.read_text()[said_log.read_text().index("[") :])
            with Largest(out) as folder:
                taken = measured(command, environment=environment, log=log)
            (made,) = json.loads(log.read_text()[log.read_text().index("[\n") :])
            pairs = [
                (number(said["time"]), taken.wall_s - idle.wall_s),
                (number(said["memory"]) / 1e6, (taken.peak_anonymous_bytes - idle.peak_anonymous_bytes) / 1e6),
                (number(said["disk"]) / 1e6, made["megabytes"]),
                (number(said["disk_while_made"]) / 1e6, folder.largest / 1e6),
            ]
            cells = " | ".join(f"{guess:.0f} | {fact:.0f}" for guess, fact in pairs)
            print(f"| {format} | {effort} | {cells} |", flush=True)


def number(text: str) -> float:
    """The quantity in a text such as `about 0.13 GB`, in seconds or bytes."""
    *_, value, unit = text.split()
    return float(value) * UNITS[unit]


class Largest:
    """The most bytes that a folder has held, looking every 50 ms."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.largest = 0

    def __enter__(self) -> Largest:
        self._thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            size = 0
            for folder, _, names in os.walk(self._folder):
                for name in names:
                    with suppress(OSError):
                        size += (Path(folder) / name).stat().st_size
            self.largest = max(self.largest, size)


if __name__ == "__main__":
    main()
