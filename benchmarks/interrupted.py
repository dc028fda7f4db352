"""What a study that was interrupted has left, for the benchmarks and tests that interrupt one: finished steps and processes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as parquet

from whichbits.schema.labels import Labels
from whichbits.schema.summary import Summary
from whichbits.studies.store.result import read_result, result_files


@dataclass(frozen=True)
class FinishedStep:
    """What a step found: equal where a study was not harmed."""

    kind: str
    labels: Labels
    summary: Summary
    items: pa.Table | None
    checkpoint: tuple[str, ...]
    """SHA-256 of each file of tensors."""


def finished(store: Path) -> dict[str, FinishedStep]:
    """The finished steps of a store, by their place in it."""
    found = {}
    for path in result_files(store):
        result, items = read_result(path), path.parent / "items.parquet"
        tensors = sorted(path.parent.glob("checkpoint/*.safetensors"))
        found[str(path.parent.relative_to(store))] = FinishedStep(
            result.kind,
            result.labels,
            result.summary(result.kind),
            parquet.read_table(items) if items.exists() else None,
            tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in tensors),
        )
    return found


def processes_of(folder: Path) -> Iterator[psutil.Process]:
    """Living processes whose command line or environment names a folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            names = [*process.cmdline(), *process.environ().values()]
            if any(str(folder) in name for name in names) and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def leftovers(folder: Path, patience_s: float = 30.0) -> list[str]:
    """What still works on a folder so long after its study has ended, a line a process."""
    deadline = time.monotonic() + patience_s
    while (found := list(processes_of(folder))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [f"process {process.pid} is left of {folder.name}" for process in found]


def kill_with_children(pid: int) -> None:
    """SIGKILL to a process and all that it has started."""
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            one.kill()


def exit_code(problems: Sequence[str]) -> int:
    """Print what went wrong; 1 where something did."""
    for problem in problems:
        print(f"PROBLEM {problem}")
    print("ok" if not problems else f"{len(problems)} problems")
    return int(bool(problems))
