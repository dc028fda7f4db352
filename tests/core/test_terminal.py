"""Terminals and locales that cannot show, or would not read, all characters: output degrades, results do not change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import whichbits as package

SETTINGS = [
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"},
]


def whichbits(*arguments: str | bytes, folder: Path, **setting: str) -> subprocess.CompletedProcess[bytes]:
    """The program as a user starts it."""
    script = "from whichbits.cli.app import main; main()"
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "WHICHBITS_CACHE")}
    kept["PYTHONPATH"] = str(Path(package.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], env={**kept, **setting}, cwd=folder, capture_output=True, check=False
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: " ".join(setting.values()))
def test_output_degrades(setting: dict[str, str], tmp_path: Path) -> None:
    table = whichbits(
        "predict", "--model", "llama-3.1-8b", "--hardware", "L40S", "--workload", "64/16", folder=tmp_path, **setting
    )
    assert table.returncode == 0, table.stderr
    assert b"Traceback" not in table.stderr
    # A file of another script's name, with text of all kinds, is read as UTF-8.
    text = "version: 1\nname: a\nmodel: m\nnotes: [größe ✓]\nfehler: x\n"
    (tmp_path / "größe 数.yaml").write_text(text, encoding="utf-8")
    refused = whichbits("study", "größe 数.yaml", "--dry-run", folder=tmp_path, **setting)
    assert refused.returncode == 2
    assert b"Traceback" not in refused.stderr
    assert b"yaml" in refused.stderr


def test_json_is_the_same_whatever_the_terminal_shows(tmp_path: Path) -> None:
    found = [whichbits("hardware", "--json", folder=tmp_path, **setting).stdout for setting in SETTINGS]
    assert len(set(found)) == 1
    assert json.loads(found[0])


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_standard_stream_that_is_closed_leads_nowhere(closed: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "WHICHBITS_CACHE")}
    kept["PYTHONPATH"] = str(Path(package.__file__).parents[1])
    script = "from whichbits.cli.app import main; main()"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{script}" formats {closed}'], env=kept, cwd=tmp_path, capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b"w8a8-int" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize("more", [["formats"], ["formats", "--json"], ["--version"]])
def test_output_that_a_full_disk_cuts_is_no_success(more: list[str], tmp_path: Path) -> None:
    script = "from whichbits.cli.app import main; main()"
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(package.__file__).parents[1])}
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-c", script, *more], env=kept, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


def test_an_argument_that_is_not_utf8_is_refused_in_a_line(tmp_path: Path) -> None:
    said = whichbits("evaluate", b"model-\xff", "--task", "recall", folder=tmp_path, LC_ALL="C.UTF-8")
    assert said.returncode == 2
    assert b"Traceback" not in said.stderr
    assert b"not UTF-8" in said.stderr
