"""The command line of the checkout that is recorded, and hashes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from names import OPTIONS


def environment() -> dict[str, str]:
    """One thread, no network, no engine."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    own = {"HF_HUB_OFFLINE": "1", "WHICHBITS_VLLM": "/no/such/vllm", "COLUMNS": "200", "PYTHONHASHSEED": "0"}
    return {**os.environ, **threads, **own}


def whichbits(*words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line of the checkout."""
    arguments = [str(word) for word in words]
    if any(old in arguments for old, _ in OPTIONS):
        known = _run([arguments[0], "--help"], folder).stdout.split()
        renamed = {old: new for old, new in OPTIONS if new in known}
        arguments = [renamed.get(word, word) for word in arguments]
    began = time.monotonic()
    done = _run(arguments, folder)
    print(
        f"{time.monotonic() - began:6.1f} s, exit {done.returncode}: whichbits {' '.join(arguments)[:150]}",
        file=sys.stderr,
        flush=True,
    )
    return done


def _run(arguments: list[str], folder: Path | None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whichbits", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
