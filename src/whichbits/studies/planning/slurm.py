"""A study as array jobs of Slurm: each stage of its steps an array, each element a process of `whichbits run-step`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from whichbits.studies.planning.stages import Process

SCRIPT = """\
#!/bin/bash
# Submits the steps of the study {name} to Slurm, an array a stage. A stage begins when the one before has ended, well or badly.
# Options of sbatch are handed on: bash submit.sh --partition=gpu --gpus=1 --cpus-per-task=16
set -euo pipefail
cd {folder}
run_step={run_step}
previous=
submit() {{  # NAME SIZE FILE [OPTION ...]: an array of this size, whose elements run the steps of the lines of a (quoted) file
    local name=$1 size=$2 file=$3
    shift 3
    previous=$(sbatch --parsable --job-name="$name" --array="1-$size" --output={logs}/"$name"-%a.txt \\
        ${{previous:+--dependency=afterany:$previous}} "$@" \\
        --wrap "$run_step \\$(sed -n \\${{SLURM_ARRAY_TASK_ID}}p $file)")
    echo "$name: job ${{previous%%;*}}, $size elements"
    previous=${{previous%%;*}}
}}
{submissions}
sbatch --parsable --job-name={name}-verdict --output={logs}/verdict.txt \\
    ${{previous:+--dependency=afterany:$previous}} "$@" --wrap {study}
"""


def write_slurm(folder: Path, name: str, found: Sequence[Sequence[Process]], study: Sequence[str]) -> Path:
    """Write the script that submits a study's stages, and a file a stage with the steps of one process a line.

    folder: the store. study: the command that judges the results in the end. Returns the script.
    """
    store = folder.resolve()
    jobs = store / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    submissions = []
    for number, stage in enumerate(found, 1):
        lines = jobs / f"stage-{number}.txt"
        lines.write_text("".join(" ".join(one.step.key for one in process) + "\n" for process in stage), encoding="utf-8")
        options = " --exclusive" if stage[0][0].needs.alone else ""
        submissions.append(f'submit {name}-{number} {len(stage)} {_quoted_twice([str(lines)])} "$@"{options}')
    script = jobs / "submit.sh"
    program = [sys.executable, "-P", "-m", "whichbits"]
    script.write_text(
        SCRIPT.format(
            name=name,
            folder=shlex.quote(str(Path.cwd())),
            logs=shlex.quote(str(jobs).replace("%", "%%")),
            run_step=_quoted_twice([*program, "run-step", str(store)]),
            submissions="\n".join(submissions),
            study=_quoted_twice([*program, *study]),
        ),
        encoding="utf-8",
    )
    return script


def _quoted_twice(words: Sequence[str]) -> str:
    """Words of a command for the job's shell, as one word of the script's."""
    return shlex.quote(shlex.join(words))
