"""MBPP (Austin et al. 2021, arXiv 2108.07732), the sanitized test split; and MBPP+ (Liu et al. 2023, arXiv 2305.01210)."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from whichbits.accuracy.code.json_types import compared_as_sets, restored
from whichbits.accuracy.code.problem import Problem
from whichbits.accuracy.code.python import tree_of
from whichbits.accuracy.code.reference_tests import comparison
from whichbits.accuracy.problem_files import Row, optional_files, problem_file, rows
from whichbits.core.errors import UserError

SANITIZED = ("sanitized-mbpp.json",)
SANITIZED_REMEDY = "put sanitized-mbpp.json of google-research's mbpp into a folder, and name that with --data-dir"
PLUS = ("MbppPlus.jsonl", "MbppPlus-v*.jsonl", "MbppPlus.jsonl.gz", "MbppPlus-v*.jsonl.gz")
PLUS_REMEDY = "put EvalPlus's MbppPlus.jsonl.gz into a folder, and name that with --data-dir"
TEST_SPLIT = range(11, 511)
"""task_id of the test split; 257 of the sanitized problems."""
EXAMPLES = (2, 3, 4)
"""task_id of the worked examples, as in the paper."""
EACH = """

def check(function):
    names = {**globals(), FUNCTION: function}
    for test in TESTS:
        exec(test, names)
"""


class Sanitized(Row):
    """A problem of sanitized-mbpp.json."""

    task_id: int
    prompt: str
    code: str
    """Its solution."""
    test_imports: list[str]
    test_list: list[str] = Field(min_length=1)


class Base(Row):
    """A problem's assertions, where MBPP+ has them in its own file or in MbppBase.jsonl."""

    task_id: str
    assertion: str | None = None
    test_list: list[str] = Field(default_factory=list)


class Plus(Base):
    """A problem of MBPP+, each input the list of the function's arguments."""

    prompt: str
    entry_point: str
    canonical_solution: str
    contract: str
    """Assertions on the parameters."""
    base_input: list[list[Any]]
    plus_input: Annotated[list[list[Any]], BeforeValidator(lambda value: value or [])]
    """`{}` stands for none in some rows."""
    atol: float
    """Tolerance of floats."""


def mbpp(data_dir: Path | None) -> list[Problem]:
    """The 257 problems of the sanitized test split, with their assertions as tests.

    Base models see the paper's three worked examples; chat models see the task and its assertions.
    """
    by_id = {row.task_id: row for row in rows(sanitized_file(data_dir), Sanitized)}
    if missing := [number for number in EXAMPLES if number not in by_id]:
        raise UserError(f"data_dir: sanitized-mbpp.json has no problem {missing[0]}, a worked example", remedy=SANITIZED_REMEDY)
    shown = "".join(f"{_question(by_id[number])}{by_id[number].code.strip()}\n[DONE]\n\n" for number in EXAMPLES)
    return [_sanitized(row, shown) for number, row in sorted(by_id.items()) if number in TEST_SPLIT]


def sanitized_file(data_dir: Path | None) -> Path:
    """The file that MBPP reads."""
    return problem_file(data_dir, SANITIZED, task="MBPP", remedy=SANITIZED_REMEDY)


def _question(row: Sanitized) -> str:
    tests = "\n".join(row.test_list)
    return (
        f"You are an expert Python programmer, and here is your task: {row.prompt} Your code should pass these tests:\n\n"
        f"{tests}\n[BEGIN]\n"
    )


def _sanitized(row: Sanitized, shown: str) -> Problem:
    tests = "\n".join(row.test_list)
    imports = "\n".join(row.test_imports)
    entry_point = tested_function(row.code, row.test_list)
    return Problem(
        name=f"Mbpp/{row.task_id}",
        completion=shown + _question(row),
        begun="",
        request=_request(row.prompt, tests),
        head="",
        entry_point=entry_point,
        test=f"{imports}\nTESTS, FUNCTION = {row.test_list!r}, {entry_point!r}\n{EACH}",
    )


def _request(task: str, tests: str) -> str:
    return (
        f"{task}\n\nThe program must pass these tests:\n\n```python\n{tests}\n```\n\n"
        "Answer with the whole program, in a code block."
    )


def tested_function(code: str, tests: Sequence[str]) -> str:
    """The function of `code` that the first test calls; the last defined where it calls several or none."""
    defined = [node.name for node in tree_of(code).body if isinstance(node, ast.FunctionDef)]
    called = {node.func.id for node in ast.walk(tree_of(tests[0])) if isinstance(node, ast.Call)
              and isinstance(node.func, ast.Name)}  # fmt: skip
    named = [name for name in defined if name in called]
    return (named or defined)[-1]


def mbpp_plus(data_dir: Path | None) -> list[Problem]:
    """MBPP+'s problems: its inputs, MBPP's own among them, compared with its solutions."""
    file, *more = plus_files(data_dir)
    stated = [row for one in (file, *more) for row in rows(one, Base)]
    assertions = {_number(row): "\n".join([row.assertion, *row.test_list]) for row in stated if row.assertion is not None}
    found = []
    for row in rows(file, Plus):
        if _number(row) not in assertions:
            raise UserError(
                f"data_dir: {file} has no assertion of problem {row.task_id}, which says the types of its inputs",
                remedy="put MbppBase.jsonl of the same version next to it",
            )
        found.append(_plus(row, assertions[_number(row)]))
    return found


def plus_files(data_dir: Path | None) -> list[Path]:
    """Files that MBPP+ reads; the first publication (2023) has the assertions in a file of their own."""
    file = problem_file(data_dir, PLUS, task="MBPP+", remedy=PLUS_REMEDY)
    return [file, *optional_files(file.parent, ("MbppBase.jsonl",))]


def _number(row: Base) -> int:
    return int(row.task_id.rpartition("/")[2])


def _plus(row: Plus, assertion: str) -> Problem:
    entry_point = row.entry_point
    # The last publication has an assertion in the prompt; the first one has none.
    words = row.prompt.strip().strip("\"'").strip()
    task, mark, tests = words.partition("\nassert ")
    tests = mark.strip() + " " + tests if mark else next(line for line in assertion.split("\n") if line.startswith("assert"))
    inputs = restored([*row.base_input, *row.plus_input], assertion, entry_point)
    return Problem(
        name=f"Mbpp/{_number(row)}",
        completion=f'"""\n{task}\n{tests}\n"""\n',
        begun="",
        request=_request(task, tests),
        head="",
        entry_point=entry_point,
        test=comparison(
            row.canonical_solution,
            entry_point,
            inputs,
            contract=row.contract,
            atol=row.atol,
            as_sets=compared_as_sets(assertion, entry_point),
        ),
    )
