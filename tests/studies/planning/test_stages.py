"""A plan in stages, and as array jobs that a batch system runs from the store alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import whichbits
from benchmarks.interrupted import finished
from whichbits.schema.inputs import Inputs
from whichbits.schema.step import Step
from whichbits.studies.planning.slurm import write_slurm
from whichbits.studies.planning.stages import stages
from whichbits.studies.steps.planned import COMPUTE, Planned, measurement
from whichbits.studies.steps.step import Job, Kind, Result, StepContext
from whichbits.studies.steps.study import Study


class Given(Inputs):
    name: str


def unplanned(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    return iter(())


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result | Exception]]:
    return iter(())


def shared(step: Step) -> str | None:
    name = step.inputs_as(Given).name
    return "pass" if name.startswith("pass") else None


KINDS = {
    "make": Kind("make", 1, unplanned, run, together=shared),
    "score": Kind("score", 1, unplanned, run),
    "speed": Kind("speed", 1, unplanned, run),
}


def planned(kind: str, name: str, *reads: Planned) -> Planned:
    given = {one.step.inputs_as(Given).name: one.step for one in reads}
    step = Step(kind, 1, Given(name=name), {role: step.key for role, step in given.items()})
    return Planned(step, measurement("a", "b") if kind == "speed" else COMPUTE, given)


def names(steps: Sequence[Planned]) -> list[list[list[str]]]:
    return [[[one.step.inputs_as(Given).name for one in process] for process in stage] for stage in stages(tuple(steps), KINDS)]


def test_each_step_is_in_a_stage_after_what_it_reads_and_measurements_are_one_process_in_the_last():
    one, two, three = planned("make", "pass 1"), planned("make", "pass 2"), planned("make", "alone")
    base, first = planned("score", "base"), planned("score", "first", one)
    compared = planned("score", "compared", base, first)
    speeds = [planned("speed", "speed 1"), planned("speed", "speed 2", one)]
    assert names([one, two, three, base, first, compared, *speeds]) == [
        [["pass 1", "pass 2"], ["alone"], ["base"]],
        [["first"]],
        [["compared"]],
        [["speed 1", "speed 2"]],
    ]
    assert names([first, compared]) == [[["first"]], [["compared"]]]  # what they read besides is done


SBATCH = """\
#!/bin/bash
# Runs the elements of an array here, one after the other, and notes its options.
echo "$@" >> "$SBATCH_LOG"
for word in "$@"; do
    case $word in
        --array=*) last=${word##*-} ;;
        --output=*) output=${word#*=} ;;
    esac
    wrapped=$word
done
for element in $(seq 1 "${last:-1}"); do
    SLURM_ARRAY_TASK_ID=$element bash -c "$wrapped" > "${output//%a/$element}" 2>&1
done
echo "$(wc -l < "$SBATCH_LOG");cluster"
"""

SPECIFICATION = """\
version: 1
name: jobs
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: order, limit: 4}}]
base_repeats: 1
max_length: 128
executor: {{shards: {shards}}}
"""


def submitted(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, *, shards: int) -> tuple[Path, list[str]]:
    """The store of a study that Slurm's script ran, as which `SBATCH` stands, and the options of each of its jobs."""
    monkeypatch.chdir(tmp_path)
    environment = with_sbatch(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPECIFICATION.format(model=model, shards=shards))
    store = tmp_path / "a store"
    script = whichbits.plan_jobs("spec.yaml", store=store)
    done = subprocess.run(
        ["bash", str(script), "--partition=small"], cwd="/", capture_output=True, text=True, timeout=500, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return store, (tmp_path / "sbatch.txt").read_text().splitlines()


def with_sbatch(tmp_path: Path) -> dict[str, str]:
    """An environment in which the stand-in for `sbatch` is found, and a note of where it writes."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(SBATCH)
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SBATCH_LOG": str(tmp_path / "sbatch.txt")}


def test_paths_of_any_kind_reach_the_jobs_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = tmp_path / 'it\'s $(touch ran) `touch ran` "x" é'
    environment = with_sbatch(tmp_path)
    program = tmp_path / "bin" / "python"
    program.write_text('#!/bin/bash\nprintf "%s\\n" "$@" end >> "$ARGUMENTS"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.chdir(tmp_path)
    one, two = planned("make", "one"), planned("make", "two")
    script = write_slurm(store, "jobs", [[[one, two]]], ["study", "it's mine.yaml", "--store", str(store)])
    arguments = tmp_path / "arguments.txt"
    done = subprocess.run(
        ["bash", str(script)], cwd="/", capture_output=True, text=True, timeout=60, check=False,
        env={**environment, "ARGUMENTS": str(arguments)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whichbits_runs = ["-P", "-m", "whichbits"]
    assert arguments.read_text().splitlines() == [
        *whichbits_runs, "run-step", str(store), one.step.key, two.step.key, "end",
        *whichbits_runs, "study", "it's mine.yaml", "--store", str(store), "end",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.nightly
def test_slurms_script_runs_a_whole_study(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch):
    store, (first, second, last) = submitted(tmp_path, tiny_llama, monkeypatch, shards=1)
    assert "--array=1-2" in first  # the checkpoint is made, the base is scored
    assert "--dependency" not in first
    assert "--array=1-1 " in second
    assert "--dependency=afterany:1 " in second
    assert "--dependency=afterany:2 " in last
    assert all("--partition=small" in line for line in (first, second, last))
    assert len(list(store.glob("steps/**/result.json"))) == 3
    assert json.loads((store / "verdict.json").read_text())["study"] == "jobs"
    assert "steps are done already" in (store / "jobs" / "verdict.txt").read_text()
    said = {path.name: path.read_text() for path in (store / "jobs").glob("*-*.txt")}
    assert not [name for name, text in said.items() if "resource_tracker" in text], "no warning of what a step leaves"


@pytest.mark.nightly
def test_slurms_script_runs_a_study_in_shards(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch):
    store, jobs = submitted(tmp_path, tiny_llama, monkeypatch, shards=2)
    # The checkpoint is made and the base asked; the base merged and the candidate asked; the candidate merged; the verdict.
    assert [re.findall(r"--array=1-(\d+)", job) for job in jobs] == [["3"], ["3"], ["1"], []]
    assert [re.findall(r"--dependency=afterany:(\d+)", job) for job in jobs] == [[], ["1"], ["2"], ["3"]]
    provenances = [json.loads(path.read_text())["provenance"] for path in store.glob("steps/evaluate/**/result.json")]
    assert [one["shards"] for one in provenances] == [2, 2]
    assert not list(store.glob("steps/*_shard/*")), "shards go once they are merged"
    assert "3 of 3 steps are done already" in (store / "jobs" / "verdict.txt").read_text()
    (tmp_path / "alone.yaml").write_text(SPECIFICATION.format(model=tiny_llama, shards=1))
    assert whichbits.study(tmp_path / "alone.yaml", store=tmp_path / "alone", quiet=True).failed == 0
    assert finished(store) == finished(tmp_path / "alone")
