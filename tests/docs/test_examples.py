"""The examples: specifications are read and name what exists, scripts run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import whichbits
from whichbits.accuracy.registry import expand
from whichbits.formats.catalogue import get
from whichbits.serving.workload import parse_workload
from whichbits.studies.specification.schema import load

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_a_specification_is_read_and_names_what_exists(file):
    specification, _ = load(file)
    assert specification.name == file.stem
    for candidate in specification.candidates:
        get(candidate.format)
    for task in specification.tasks:
        assert (EXAMPLES / task.jsonl).is_file() if task.jsonl else expand([task.name])
    for workload in specification.workloads:
        parse_workload(str(workload["name"]) if set(workload) == {"name"} else workload)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_a_script_runs_and_prints(file, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(whichbits.__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) > 1
