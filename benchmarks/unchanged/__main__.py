"""Records what a checkout computes, digit for digit, and compares two records: what a restructuring must not change.

    PYTHONPATH=OLD/src python benchmarks/unchanged record old.json
    PYTHONPATH=NEW/src python benchmarks/unchanged record new.json
    python benchmarks/unchanged compare old.json new.json

A record holds SHA-256s of checkpoints, a thousand predictions, the scores of two emulated studies item by item, and the
numbers of their verdicts. Everything is asked of the command line and read from the files that it writes, but for the
predictions, which it prints rounded. Words are not recorded. `compare old.json` alone records the checkout of PYTHONPATH
and compares that. Names that differ between two checkouts go into names.py. Records are of one processor and one set of
libraries: elsewhere sums may be taken in another order.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from checkpoints import checkpoints
from compare import compare
from place import Place
from predictions import predicted

from studies import demonstration, kept_store, tiny_study

PARTS: dict[str, Callable[[Place], Iterator[tuple[str, Any]]]] = {
    "predictions": predicted,
    "tiny": tiny_study,
    "demo": demonstration,
    "store": kept_store,
    "weights": checkpoints,
}


def main() -> int:
    """Record, or compare; 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="write what the checkout of PYTHONPATH computes")
    recording.add_argument("out", type=Path)
    comparing = commands.add_parser("compare", help="say what differs between two records")
    comparing.add_argument("a", type=Path)
    comparing.add_argument("b", type=Path, nargs="?", help="default: the checkout of PYTHONPATH, recorded now")
    for each in (recording, comparing):
        each.add_argument("--only", choices=[*PARTS], action="append", help="a part; repeatable; default: all")
        each.add_argument("--store", type=Path, help="also scores and verdict of a finished store, which is copied first")
        each.add_argument("--embedded", action="store_true", help="also the embedded model balanced, best and rotated (long)")
    asked = parser.parse_args()
    if asked.command == "record":
        asked.out.write_text(json.dumps(record(asked.only, asked.store, asked.embedded), indent=1))
        return 0
    old = json.loads(asked.a.read_text())
    new = json.loads(asked.b.read_text()) if asked.b else record(asked.only, asked.store, asked.embedded)
    found = compare(old, new, asked.only)
    print("\n".join(found.lines()))
    return 1 if found.differences else 0


def record(only: Sequence[str] | None, store: Path | None, embedded: bool) -> dict[str, Any]:
    """What the checkout computes that `python -m whichbits` finds: `entries` by keys that begin with their part's name."""
    import torch

    torch.set_num_threads(1)
    machine = {"processor": _processor(), "python": platform.python_version()}
    machine |= {name: version(name) for name in ("torch", "transformers", "numpy", "numba", "safetensors")}
    entries: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="unchanged-") as work:
        place = Place(Path(work), store and store.resolve(), embedded)
        for name, part in PARTS.items():
            if not only or name in only:
                entries |= {f"{name}/{key}": value for key, value in part(place)}
    return {"machine": machine, "entries": entries}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
