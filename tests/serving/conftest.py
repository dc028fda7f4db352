from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

StartEngine = Callable[..., str]


@pytest.fixture
def start_engine() -> Iterator[StartEngine]:
    """Starts `engine.py` with options and gives its URL; ends it after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(**options: Any) -> str:
        script = Path(__file__).parent / "engine.py"
        process = subprocess.Popen([sys.executable, str(script), json.dumps(options)], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in running:
        process.kill()
        process.communicate()
