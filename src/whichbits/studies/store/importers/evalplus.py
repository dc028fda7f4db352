"""EvalPlus: `..._eval_results.json`, as `evalplus.evaluate` writes it next to the samples.

The file holds programs and whether they passed, and neither the prompts nor how answers were drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from whichbits.core.foreign import Settings, damaged, field, stated, the_only
from whichbits.core.text import parse_json, read_bytes
from whichbits.studies.store.importers.importer import (
    ImportedItem,
    ImportedRun,
    ImportedTask,
    Importer,
    chosen_metric,
    refuse_other_mean,
)

PASSED: Mapping[str, bool] = {
    "pass": True, "fail": False, "timeout": False,
    "success": True, "failed": False, "timed out": False,  # before EvalPlus 0.2
}  # fmt: skip
"""What EvalPlus says of a program (`evalplus/eval/__init__.py`), and whether that is a pass."""
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
        counts = {name: len(entry) for name, entry in programs.items()}
        several = len(set(counts.values())) > 1
        settings = Settings()
        settings.add("hash", found.get("hash"), "score both with one version of EvalPlus's data set")
        settings.add("samples", counts if several else sorted(set(counts.values())), "draw as many programs a problem for both")
        settings.add("temperature", _temperature(file), "draw both at one temperature")
        tests = [data_set, *([f"{data_set}_plus"] if _with_additional_tests(programs, where) else [])]
        tasks = tuple(
            ImportedTask(task, chosen_metric(metric, (METRIC,), (), task), (), _items(programs, plus=place == 1))
            for place, task in enumerate(tests)
        )
        for task, part in zip(tasks, ("base", "plus"), strict=False):
            refuse_other_mean(where, task.name, task.items, found.get("pass_at_k", {}).get(part, {}).get(METRIC))
        return ImportedRun(
            tool=self.name,
            path=file,
            model=re.sub(r"[._]?eval_results$", "", file.stem) or file.parent.name,
            engine=self.name,
            settings=settings.all(),
            tasks=tasks,
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
    if isinstance(entry, Mapping):  # before EvalPlus 0.2; without additional tests `plus` is empty
        base, plus = ([_older_status(one, where) for one in field(entry, name, where=where)] for name in ("base", "plus"))
        if plus and len(plus) != len(base):
            raise damaged(where, f"has a problem with {len(base)} results of the base tests and {len(plus)} of the others")
        passed = [_passed(one, other, where) for one, other in zip_longest(base, plus)]
    elif isinstance(entry, Sequence) and not isinstance(entry, str):
        passed = [
            _passed(field(one, "base_status", where=where), field(one, "plus_status", where=where), where) for one in entry
        ]
    else:
        passed = []
    if not passed:
        raise damaged(where, "has a problem without programs")
    return passed


def _passed(base: object, plus: object, where: str) -> Passed:
    """What two statuses say; `plus` is None where the additional tests did not run. Raises UserError for another word."""
    for status in (base,) if plus is None else (base, plus):
        if not (isinstance(status, str) and status in PASSED):
            raise damaged(where, f"has the status {stated(status):.40}, and not {', '.join(PASSED)}")
    ours = PASSED[str(base)]
    return ours, None if plus is None else ours and PASSED[str(plus)]


def _older_status(result: Any, where: str) -> object:
    """The status of [status, details]."""
    if not isinstance(result, Sequence) or not result:
        raise damaged(where, "has a result without a status")
    return result[0]


def _with_additional_tests(programs: Mapping[str, list[Passed]], where: str) -> bool:
    """Whether the additional tests ran. Raises UserError where they ran for a part of the programs."""
    without = [name for name, passed in programs.items() for _, extended in passed if extended is None]
    there = sum(len(passed) for passed in programs.values())
    if 0 < len(without) < there:
        raise damaged(where, f"has no plus_status of {len(without)} of {there} programs, first of {without[0]}")
    return not without


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
