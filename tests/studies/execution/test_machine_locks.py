"""Two studies never measure at once on one machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from whichbits.studies.execution import machine_locks
from whichbits.studies.execution.machine_locks import measuring

OTHER = """\
import sys
from whichbits.studies.execution.machine_locks import measuring
with measuring("studies/other", lambda place: print("waits for", place, flush=True)):
    print("measures", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no other test measures."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(machine_locks, "LOOKS_EVERY_S", 0.05)


@pytest.mark.parametrize("killed", [False, True])
def test_the_second_waits_for_the_first_whatever_its_end(killed: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "measures\n"
        heard: list[str] = []

        def waits(place: str) -> None:
            heard.append(place)
            if len(heard) == 5:
                if killed:
                    other.kill()
                else:
                    other.stdin.write("\n")  # type: ignore[union-attr]
                    other.stdin.flush()  # type: ignore[union-attr]

        began = time.monotonic()
        with measuring("studies/mine", waits):
            assert set(heard) == {"studies/other"}
            assert time.monotonic() - began >= 5 * machine_locks.LOOKS_EVERY_S
            with subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE, text=True) as third:
                assert third.stdout is not None
                assert third.stdout.readline() == "waits for studies/mine\n"
                third.kill()  # as what waits when its study is stopped
        other.wait()
    with measuring("studies/mine", lambda place: pytest.fail(f"{place} measures")):
        pass
