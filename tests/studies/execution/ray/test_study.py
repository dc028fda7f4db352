"""A study on a cluster that loses a node in the middle of a step gives what one machine gives."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("torch")
pytest.importorskip("lm_eval")

SPECIFICATION = """\
version: 1
name: cluster
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: order, limit: 6}}]
similarity: {{limit: 2, max_tokens: 8, windows: 2, window_tokens: 64, measures: [kl]}}
base_repeats: 1
max_length: 128
"""


def parents(pid: int) -> Iterator[int]:
    """A process, its parent, and so on."""
    while pid > 1:
        yield pid
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return


def marked(store: Path) -> list[int]:
    """Processes of work on a store."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"WHICHBITS_STORE=" in text and str(store).encode() in text:
                found.append(int(entry.name))
    return found


def kill_a_node_at_work(cluster: Any, store: Path, study: subprocess.Popen[str]) -> None:
    """Kill the raylet of a node that a step runs on, not the first, and all that it has started."""
    raylets = {one.all_processes["raylet"][0].process.pid: one for one in cluster.list_all_nodes() if not one.head}
    while study.poll() is None:
        at_work = [raylet for pid in marked(store) if os.getsid(pid) == pid for raylet in raylets if raylet in parents(pid)]
        if at_work:
            below = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
            doomed = [pid for pid in below if at_work[0] in parents(pid)]
            for pid in (at_work[0], *doomed):
                os.kill(pid, signal.SIGKILL)
            cluster.remove_node(raylets[at_work[0]], allow_graceful=False)
            return
        time.sleep(0.02)
    pytest.fail("the study has ended before a node could be killed")


def results(store: Path) -> dict[str, Any]:
    """What each step found, by key, with the rows of its items and the digests of what it has written."""
    import pyarrow.parquet

    found = {}
    for path in sorted(store.glob("steps/**/result.json")):
        result = json.loads(path.read_text())
        items = path.parent / "items.parquet"
        rows = pyarrow.parquet.read_table(items).to_pylist() if items.exists() else []
        tensors = sorted(path.parent.glob("checkpoint/*.safetensors"))
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in tensors]
        found[result["key"]] = (result["kind"], result["summary"], rows, digests)
    return found


def test_a_study_that_loses_a_node_ends_as_on_one_machine(tmp_path: Path, tiny_llama: Path, cluster: Any, gone: Any):
    (tmp_path / "spec.yaml").write_text(SPECIFICATION.format(model=tiny_llama))

    def study(store: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "whichbits", "study", "spec.yaml", "--store", store, *options]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    there = study("there", "--executor", "ray", "--address", cluster.address)
    kill_a_node_at_work(cluster, tmp_path / "there", there)
    said = there.communicate(timeout=300)[0]
    cluster.add_node(**cluster.added)
    assert there.returncode == 0, said
    assert "lost: " in (tmp_path / "there" / "run.log").read_text()
    assert gone(marked(tmp_path / "there"))
    here = study("here")
    assert here.communicate(timeout=300)[0]
    assert here.returncode == 0
    found = results(tmp_path / "there")
    assert {kind for kind, *_ in found.values()} == {"quantize", "evaluate", "distribution"}
    assert found == results(tmp_path / "here")
