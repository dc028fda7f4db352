"""EvalPlus: `..._eval_results.json`, as `evalplus.evaluate` writes it next to the samples.

The file holds programs and whether they passed, and neither the prompts nor how answers were drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from whichbits.core.foreign import Settings, damaged, field, the_only
from whichbits.core.text import parse_json, read_bytes
from whichbits.studies.store.importers.importer import ImportedItem, ImportedRun, ImportedTask, Importer, chosen_metric

PASS = "pass"
OLDER_PASS = "success"
"""How EvalPlus before 0.2 called it."""
DATA_SETS = {"HumanEval": "humaneval", "Mbpp": "mbpp"}
METRIC = "pass@1"


class EvalPlusImporter(Importer):
    """EvalPlus's results of HumanEval or MBPP: a task with the base tests, and one with the additional ones too."""

    name = "evalplus"
    reads = "a file *eval_results.json of EvalPlus, or a folder with one"

    def recognizes(self, path: Path) -> bool:
        """By the file's name."""
        return bool(_files(path))

    def read(self, path: Path, metric: str | None) -> ImportedRun:
        """One or two tasks, of which an item's score is the share of its programs that passed."""
        file = the_only(_files(path), path, "results of EvalPlus")
        where = str(file)
        found = parse_json(read_bytes(file, where), where, form="what EvalPlus wrote")
        problems = field(found, "eval", where=where)
        if not isinstance(problems, Mapping) or not problems:
            raise damaged(where, "has no problems")
        programs = {name: _programs(entry, where) for name, entry in problems.items()}
        data_set = DATA_SETS.get(str(next(iter(programs))).partition("/")[0], "code")
        counts = sorted({len(entry) for entry in programs.values()})
        settings = Settings()
        settings.add("hash", found.get("hash"), "score both with one version of EvalPlus's data set")
        settings.add("samples", counts, "draw as many programs a problem for both")
        settings.add("temperature", _temperature(file), "draw both at one temperature")
        tests = [data_set, *([f"{data_set}_plus"] if all(s[1] is not None for e in programs.values() for s in e) else [])]
        return ImportedRun(
            tool=self.name,
            path=file,
            model=re.sub(r"[._]?eval_results$", "", file.stem) or file.parent.name,
            engine=self.name,
            settings=settings.all(),
            tasks=tuple(
                ImportedTask(task, chosen_metric(metric, (METRIC,), (), task), (), _items(programs, plus=place == 1))
                for place, task in enumerate(tests)
            ),
            unknown=("prompts", "how answers were drawn but for the temperature in the file's name"),
        )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*eval_results.json"))
    return [path] if path.name.endswith("eval_results.json") else []


def _temperature(file: Path) -> str | None:
    """The temperature in the name that EvalPlus gives its samples: MODEL_BACKEND_temp_0.2..."""
    found = re.search(r"_temp_(\d+(?:\.\d+)?)", file.name) or re.search(r"_temp_(\d+(?:\.\d+)?)", file.parent.name)
    return found[1] if found else None


Passed = tuple[bool, bool | None]
"""Whether a program passed the base tests, and these and the additional ones; None where those did not run."""


def _programs(entry: Any, where: str) -> list[Passed]:
    """The programs of a problem."""
    if isinstance(entry, Mapping):  # before EvalPlus 0.2
        base, plus = ([_older_status(one, where) for one in field(entry, name, where=where)] for name in ("base", "plus"))
        passed = [_passed(one, other) for one, other in zip_longest(base, plus)]
    elif isinstance(entry, Sequence) and not isinstance(entry, str):
        passed = [_passed(*(field(one, name, where=where) for name in ("base_status", "plus_status"))) for one in entry]
    else:
        passed = []
    if not passed:
        raise damaged(where, "has a problem without programs")
    return passed


def _passed(base: str | None, plus: str | None) -> Passed:
    ours = base in (PASS, OLDER_PASS)
    return ours, None if plus is None else ours and plus in (PASS, OLDER_PASS)


def _older_status(result: Any, where: str) -> str:
    """The status of [status, details]."""
    if not isinstance(result, Sequence) or not result:
        raise damaged(where, "has a result without a status")
    return str(result[0])


def _items(programs: Mapping[str, list[Passed]], *, plus: bool) -> tuple[ImportedItem, ...]:
    return tuple(
        ImportedItem(
            item=name,
            prompt=name,
            target="",
            score=sum(bool(extended if plus else base) for base, extended in passed) / len(passed),
        )
        for name, passed in programs.items()
    )
