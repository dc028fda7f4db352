"""Every command of `benchmarks/` says what it does: it imports what is there today, and takes its arguments by name."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
ELSEWHERE = {"vllm_on_cpu.py"}
"""What imports vLLM, which is never imported where whichbits runs."""
COMMANDS = sorted(
    [
        str(path.relative_to(FOLDER))
        for path in (*FOLDER.glob("*.py"), *(FOLDER / "verdict").glob("*.py"))
        if '"__main__"' in path.read_text(encoding="utf-8") and path.name not in ELSEWHERE
    ]
    + [path.parent.name for path in FOLDER.glob("*/__main__.py")]
)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    path = FOLDER / command
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    monkeypatch.syspath_prepend(str(path if path.is_dir() else path.parent))
    loaded = set(sys.modules)
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
    finally:
        for name in set(sys.modules) - loaded:  # the folders have modules of the same names
            if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out
