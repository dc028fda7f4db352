"""Run a tool, and keep what it made and what that cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from measured import measured
from runs import Run
from tokens import written
from work import Work

from whichbits.hardware.this_machine import describe

HERE = Path(__file__).parent

DISTRIBUTIONS = {"llm-compressor": "llmcompressor", "auto-round": "auto-round", "gptqmodel": "gptqmodel"}

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def make(work: Work, run: Run, model: Path, pythons: Mapping[str, Path], threads: int) -> None:
    """Make the checkpoints of a run, and keep time, memory and size.

    `pythons`: the interpreter of each tool's environment; whichbits' is this one unless it is given.
    """
    folder = work.of(run)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "checkpoints").mkdir(parents=True)
    # Every tool takes its number of threads from here.
    own = dict.fromkeys(THREADS, str(threads)) | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    # Byte code that is not kept would be compiled anew in every run, for seconds.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cost = measured(_command(work, run, model, pythons), environment=inherited | own, log=folder / "log.txt")
    sizes = {format: _bytes(work.checkpoint(run, format)) for format in run.formats}
    about = {"model": model.name, "version": _version(work, run, pythons), "cpu": describe().cpu, "threads": threads}
    work.put_measurement(run, cost.as_dict() | {"bytes": sizes} | about)


def _command(work: Work, run: Run, model: Path, pythons: Mapping[str, Path]) -> list[str | Path]:
    if run.tool == "whichbits":
        return _whichbits(work, run, model, pythons.get("whichbits", Path(sys.executable)))
    script = HERE / f"with_{run.tool.replace('-', '_')}.py"
    (format,) = run.formats
    grouped = ["--group-size", str(run.group_size)] if run.group_size else []
    return [pythons[run.tool], script, model, work.tokens, str(run.recipe), work.checkpoint(run, format), *grouped]


def _whichbits(work: Work, run: Run, model: Path, python: Path) -> list[str | Path]:
    fields = dict(run.recipe)
    effort = ["--effort", fields.pop("effort")] if "effort" in fields else []
    if effort:
        samples, length = written(work.tokens).shape
        fields["calibration"] = {"source": "tokens", "file": str(work.tokens), "samples": samples, "length": length}
    recipe = work.of(run) / "recipe.yaml"
    recipe.write_text(json.dumps(fields))  # JSON is YAML
    formats = [part for format in run.formats for part in ("--format", format)]
    command = python.parent / "whichbits"
    return [command, "quantize", model, *formats, "--out", work.of(run) / "checkpoints", "--recipe", recipe, *effort]


def _version(work: Work, run: Run, pythons: Mapping[str, Path]) -> str:
    """The tool's version; whichbits' with the hash of the code that made the checkpoint."""
    if run.tool != "whichbits":
        code = f"from importlib.metadata import version; print(version({DISTRIBUTIONS[run.tool]!r}))"
        return subprocess.run([pythons[run.tool], "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    versions = json.loads((work.checkpoint(run, run.formats[0]) / "manifest.json").read_text())["versions"]
    return f"{versions['whichbits']} (code {versions['whichbits-code'][:12]})"


def _bytes(folder: Path) -> int:
    """Size of a checkpoint's weights."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
