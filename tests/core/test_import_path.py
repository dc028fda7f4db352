"""Nothing that lies about is run: not by a command, its jobs, or what they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
LYING_ABOUT = (
    "html", "colorsys", "json", "csv", "pickle", "random", "queue", "selectors", "socket", "email", "ast", "numpy", "torch",
    "regex", "yaml", "pyarrow", "tokenizers", "transformers", "lm_eval", "sitecustomize", "usercustomize", "whichbits",
)  # fmt: skip


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """A working directory with a file for each of these modules, which leaves `ran` behind where it is executed."""
    for name in LYING_ABOUT:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name + ' '!r})\n")
    return tmp_path


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        command, cwd=folder, env={**inherited, "PYTHONPATH": str(SOURCE), **environment}, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip


def executed(folder: Path) -> str:
    ran = folder / "ran"
    return ran.read_text() if ran.exists() else ""


IN_A_JOB = """\
import os, sys
from pathlib import Path
from looking import look
from whichbits.schema.inputs import Inputs
from whichbits.schema.step import Step
from whichbits.studies.execution.executor import Work
from whichbits.studies.execution.local import LocalExecutor
from whichbits.studies.execution.placement import Machine
from whichbits.studies.steps.planned import Planned
from whichbits.studies.store.store import Store
os.environ["PYTHONPATH"] = ":" + os.environ["PYTHONPATH"]  # its empty entry is the working directory
sys.path.insert(0, "")

class Study:
    store = Store(Path(sys.argv[1]))
    machine, preload = Machine(), ("html", "colorsys")
    def started(self, step): ...

Study.store.folder.mkdir()
executor = LocalExecutor()
executor.start(Study())
print(executor.submit(Work(look, (Planned(Step("look", 1, Inputs())),)))[0].result())
executor.stop()
"""

LOOK = """\
import subprocess, sys
from whichbits.schema.summary import Summary
from whichbits.studies.steps.step import Result

class Looked(Summary, kind="look"):
    said: list[str]
    path: list[str]

def look(jobs, context):
    import colorsys, csv, html, random
    said = [subprocess.run([sys.executable, *how], capture_output=True, text=True).stdout for how in (
        ["-c", "import queue, named"], ["-m", "json.tool", "--help"])]
    import multiprocessing
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        import os
        pool.apply(os.getpid)
    import named
    yield jobs[0], Result(Looked(said=said, path=sys.path))
"""


def test_a_job_and_what_it_starts_import_nothing_from_the_working_directory(littered: Path, tmp_path_factory):
    named = tmp_path_factory.mktemp("named")
    (named / "named.py").write_text("print('named by the user')")
    (named / "looking.py").write_text(LOOK)
    store = named / "store"
    done = run(littered, sys.executable, "-P", "-c", IN_A_JOB, str(store), PYTHONPATH=f"{SOURCE}:{named}")
    assert "Looked(" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("named by the user") == 1, "PYTHONPATH of the user keeps working"
    assert executed(littered) == ""


@pytest.mark.parametrize("program", [("-m", "whichbits"), ("-P", "-c", "from whichbits.cli.app import main; main()")])
def test_no_command_imports_from_the_working_directory(littered: Path, program: tuple[str, ...]):
    if "-m" in program:
        (littered / "whichbits.py").unlink()  # it is what the user named: no code of ours has run yet
    (littered / "specification.yaml").write_text("version: 1\nname: s\nmodel: ./none\ncandidates: [w8a8-int]\n")
    ends = {("formats",): 0, ("doctor",): 0, ("study", "specification.yaml", "--dry-run"): 2}
    for arguments, code in ends.items():
        assert run(littered, sys.executable, *program, *arguments).returncode == code
    assert executed(littered) == ""
