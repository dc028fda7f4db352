"""A whole study of a tiny model, through a real vLLM server where a test says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whichbits.hardware.this_machine import describe

pytest.importorskip("torch")
pytestmark = pytest.mark.timeout(1200)
PROGRAM = [sys.executable, "-c", "from whichbits.cli.app import main; main()"]

EMULATED = """\
version: 1
name: tiny
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
  - {{format: w8a8-fp, recipe: {{scales: minmax}}, run: emulated}}
tasks:
  - {{name: recall, limit: 24}}
  - {{name: choice, limit: 12}}
similarity: {{windows: 2, window_tokens: 32, limit: 2, max_tokens: 8}}
base_repeats: 1
max_length: 128
"""

SERVED = """\
version: 1
name: served
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: both}}
  - {{format: w4a8-fp, recipe: {{scales: minmax}}, run: served}}
tasks:
  - {{name: recall, limit: 40}}
similarity: {{limit: 3, max_tokens: 8, windows: 2, window_tokens: 32}}
workloads:
  - {{name: tiny-chat, prompt_tokens: 16, output_tokens: 8, concurrency: [2], requests_per_stream: 5}}
rounds: 2
max_length: 512
"""


def study(folder: Path, text: str, **options: object) -> subprocess.CompletedProcess[str]:
    (folder / "spec.yaml").write_text(text)
    return subprocess.run(
        [*PROGRAM, "study", "spec.yaml", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
        **options,
    )  # type: ignore[call-overload, no-any-return]


def results(store: Path) -> dict[str, dict[str, object]]:
    """`result.json` of each finished step by key."""
    found = [json.loads(path.read_text()) for path in store.glob("steps/**/result.json")]
    return {result["key"]: result for result in found}


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """Folder of a finished study in emulation alone, on a machine without an engine."""
    folder = tmp_path_factory.mktemp("emulated")
    done = study(folder, EMULATED.format(model=tiny_llama), env={**os.environ, "WHICHBITS_VLLM": "/no/such/vllm"})
    assert done.returncode == 0, done.stderr
    return folder


def test_emulation_alone_needs_no_engine(emulated: Path):
    verdict = json.loads((emulated / "studies/tiny/verdict.json").read_text())
    assert verdict["failures"] == []
    kinds = sorted(result["kind"] for result in results(emulated / "studies/tiny").values())
    assert kinds == ["distribution"] * 2 + ["evaluate"] * 6 + ["quantize"] * 2
    assert {entry["candidate"]: entry["provenance"] for entry in verdict["tasks"]} == dict.fromkeys(
        ("w8a8-int", "w8a8-fp"), "emulated"
    )
    assert verdict["speed"] == []


def test_a_second_run_does_only_what_is_missing(emulated: Path, tiny_llama: Path):
    store = emulated / "studies/tiny"
    before = {path: path.stat().st_mtime_ns for path in store.glob("steps/**/result.json")}
    study(emulated, EMULATED.format(model=tiny_llama))
    assert {path: path.stat().st_mtime_ns for path in store.glob("steps/**/result.json")} == before


def test_recommend_and_report_need_only_the_store(emulated: Path, tmp_path: Path):
    store = tmp_path / "moved"
    store.symlink_to(emulated / "studies/tiny")
    said = subprocess.run([*PROGRAM, "recommend", str(store), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == json.loads((store / "verdict.json").read_text())
    wider = subprocess.run(
        [*PROGRAM, "recommend", str(store), "--margin", "0.9", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(wider.stdout)["margin"] == 0.9
    (store / "report.html").unlink()
    subprocess.run([*PROGRAM, "report", str(store)], check=True, capture_output=True)
    assert "<html" in (store / "report.html").read_text()


def test_every_number_of_the_verdict_names_steps_that_are_there(emulated: Path):
    verdict = json.loads((emulated / "studies/tiny/verdict.json").read_text())
    there = set(results(emulated / "studies/tiny"))
    for table in ("tasks", "suites", "similarity", "sizes"):
        for row in verdict[table]:
            assert set(row["steps"]) <= there, (table, row)
            assert row["steps"] or row.get("candidate") == "bf16"


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, tiny_llama: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "spec.yaml").write_text(EMULATED.format(model=tiny_llama))
    able = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(disk)], capture_output=True, check=False)
    if able.returncode:
        pytest.skip(f"no user namespace with a mount of its own: {able.stderr.decode().strip()}")
    program = f"exec {PROGRAM[0]} -c 'from whichbits.cli.app import main; main()' study spec.yaml --store {disk}/store"
    fill = f"mount -t tmpfs -o size=40m none {disk} && cd {tmp_path} && head -c 39500000 /dev/zero > {disk}/ballast; {program}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", fill],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "space" in done.stderr + done.stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Folder of a finished study with two served checkpoints and one that the engine refuses."""
    folder = tmp_path_factory.mktemp("served")
    return folder, study(folder, SERVED.format(model=tiny_llama))


@pytest.mark.server
def test_served_emulated_and_refused_side_by_side(served: tuple[Path, subprocess.CompletedProcess[str]]):
    folder, done = served
    verdict = json.loads(done.stdout)
    records = results(folder / "studies/served").values()
    probes = {r["labels"]["candidate"]: r["summary"] for r in records if r["kind"] == "probe"}  # type: ignore[index]
    assert {name: found["status"] for name, found in probes.items()} == {
        "bf16": "native", "w8a8-int": "native", "w4a8-fp": "refused",
    }  # fmt: skip
    if not describe().gpus:
        assert probes["w8a8-int"]["kernel"] == "CPUInt8ScaledMM"
        assert probes["w4a8-fp"]["reason"] == "NotImplementedError: No compressed-tensors compatible scheme"
    assert done.returncode == 1
    assert all(one["labels"]["candidate"] == "w4a8-fp" for one in verdict["failures"]), verdict["failures"]
    states = {entry["candidate"]: entry["state"] for entry in verdict["formats"]}
    assert states["bf16"] == "base"
    assert states["w4a8-fp"] == "failed"
    assert [entry["candidate"] for entry in verdict["emulation"]] == ["bf16", "w8a8-int"]
    assert {entry["candidate"] for entry in verdict["speed"]} == {"bf16", "w8a8-int"}


@pytest.mark.server
def test_speeds_are_paired_within_their_sitting(served: tuple[Path, subprocess.CompletedProcess[str]]):
    folder, _ = served
    steps = [r for r in results(folder / "studies/served").values() if r["kind"] == "serve"]
    assert {(r["labels"]["candidate"], r["labels"]["repeat"]) for r in steps} == {  # type: ignore[index]
        (name, repeat) for name in ("bf16", "w8a8-int") for repeat in (0, 1)
    }
    assert len({r["summary"]["session"] for r in steps}) == 1  # type: ignore[index]
    for repeat in (0, 1):
        bases = [r["summary"]["base_load_levels"] for r in steps if r["labels"]["repeat"] == repeat]  # type: ignore[index]
        assert all(base == bases[0] for base in bases)


@pytest.mark.server
def test_no_server_is_left(served: tuple[Path, subprocess.CompletedProcess[str]]):
    folder, _ = served
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            assert str(folder).encode() not in words


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, tiny_llama: Path):
    (tmp_path / "spec.yaml").write_text(EMULATED.format(model=tiny_llama))
    process = subprocess.Popen(
        [*PROGRAM, "study", "spec.yaml"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    store = tmp_path / "studies/tiny"
    deadline = time.monotonic() + 120
    while not any(store.glob("steps/**/result.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished steps are kept" in errors
    assert "Traceback" not in errors
    assert any(store.glob("steps/**/result.json"))
    assert not any((store / "failed").glob("*"))
