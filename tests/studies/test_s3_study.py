"""A whole study whose store is in S3, by the command line, and its report on another machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

SPECIFICATION = """\
version: 1
name: in-s3
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: order, limit: 6}}]
base_repeats: 1
max_length: 128
"""


@pytest.mark.nightly
def test_a_study_in_s3_is_run_gone_on_with_and_read_by_other_machines(tmp_path: Path, tiny_llama: Path, s3: object):
    (tmp_path / "spec.yaml").write_text(SPECIFICATION.format(model=tiny_llama))
    store = f"s3://studies/{tmp_path.name}"

    def whichbits(machine: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "whichbits", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=1200,
            check=False, env={**os.environ, "WHICHBITS_CACHE": str(tmp_path / machine)},
        )  # fmt: skip

    done = whichbits("one", "study", "spec.yaml", "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert [task["task"] for task in verdict["tasks"]] == ["order"]
    read = whichbits("two", "recommend", store, "--json")
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout)["tasks"] == verdict["tasks"]
    written = whichbits("two", "report", store, "--json")
    assert written.returncode == 0, written.stderr
    assert Path(json.loads(written.stdout)["report"]).is_file()
    again = whichbits("two", "study", "spec.yaml", "--store", store)
    assert again.returncode == 0, again.stderr
    assert "3 of 3 steps are done already" in again.stdout
    assert list(tmp_path.glob("two/stores/*/steps/quantize/*/checkpoint/*.safetensors")) == []
