"""A kind of task that another package brings, through a whole study: planned, scored, judged and reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

KIND = '''\
"""A kind of task: which number follows."""

from whichbits.accuracy.documents import harness_task
from whichbits.accuracy.kind import HarnessKind


class Successors(HarnessKind):
    """Which of four numbers follows the one that is shown; `source` says how many items there are."""

    name = "successors"
    version = 4
    metrics = ("acc",)
    options = ("metric",)

    def harness_tasks(self, task, *, seed, data_dir):
        rows = [
            {"prompt": f"{n},", "choices": [str(n + 1 + (k + n) % 4) for k in range(4)], "answer": -n % 4}
            for n in range(int(task.source))
        ]
        return {task.name: harness_task(task, rows)}
'''

SPECIFICATION = """\
version: 1
name: outside
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks:
  - {{name: what follows, kind: successors, source: "16"}}
base_repeats: 1
max_length: 128
"""


def test_a_kind_from_another_package_is_in_results_and_report(tmp_path: Path, tiny_llama: Path):
    site = tmp_path / "site"
    package = site / "successors-1.0.dist-info"
    package.mkdir(parents=True)
    (site / "successors.py").write_text(KIND)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: successors\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[whichbits.task_kinds]\nsuccessors = successors:Successors\n")
    (tmp_path / "spec.yaml").write_text(SPECIFICATION.format(model=tiny_llama))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in path.split(os.pathsep))
    done = subprocess.run(
        [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    store = tmp_path / "studies/outside"
    found = [json.loads(file.read_text()) for file in store.glob("steps/evaluate/*/*/result.json")]
    assert {one["labels"]["candidate"] for one in found} == {"bf16", "w8a8-int"}
    for one in found:
        assert (one["inputs"]["task"]["kind"], one["inputs"]["task"]["version"]) == ("successors", 4)
        assert (one["summary"]["task"], one["summary"]["n"], one["summary"]["chance"]) == ("what follows", 16, 0.25)
    (judged,) = json.loads((store / "verdict.json").read_text())["tasks"]
    assert (judged["candidate"], judged["task"]) == ("w8a8-int", "what follows")
    assert "what follows" in (store / "report.html").read_text()
