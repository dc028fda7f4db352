"""Users without a home, and homes that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import whichbits
from whichbits.core.errors import UserError
from whichbits.core.home import adopt_home, cache_directory, expand, home


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME whom passwd does not know."""

    def unknown(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "WHICHBITS_CACHE"):
        monkeypatch.delenv(name, raising=False)


def test_who_has_no_home_is_told_what_to_set(nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home() is None
    with pytest.raises(UserError, match="WHICHBITS_CACHE"):
        cache_directory()
    with pytest.raises(UserError, match="home folder"):
        expand("~/model")
    with pytest.raises(UserError, match="home folder"):
        cache_directory({"XDG_CACHE_HOME": "~nobody-of-that-name/cache"})
    adopt_home()
    assert "HOME" not in os.environ
    assert os.environ["USER"] == str(os.getuid())
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    adopt_home()
    assert os.environ["HOME"] == str(tmp_path)


def test_a_home_that_is_not_there_is_replaced_and_one_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", "/proc/nohome")
    adopt_home()
    assert os.environ["HOME"] == str(tmp_path / "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    adopt_home()
    assert os.environ["HOME"] == str(tmp_path)


def test_compiled_code_is_kept_where_there_is_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    caching = pytest.importorskip("numba.core.caching")
    from whichbits.quantization.rounding.compiled import compiled

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    twice = compiled(nogil=True)(lambda number: 2 * number)
    assert twice(4) == 8


@pytest.mark.parametrize("command", [["formats"], ["predict", "--model", "~/none", "--hardware", "L4", "--workload", "64/16"]])
def test_commands_run_without_a_home(command: list[str], tmp_path: Path) -> None:
    script = (
        "import pwd, sys; real = pwd.getpwuid\n"
        "def unknown(uid): raise KeyError('uid not found')\n"
        "pwd.getpwuid = unknown; from whichbits.cli.app import main; main()"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(whichbits.__file__).parents[1])}
    program = [sys.executable, "-c", script, *command]
    done = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == (0 if command == ["formats"] else 2), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
