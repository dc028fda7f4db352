"""Tests that compare a function with a reference solution, input by input, as EvalPlus does (Liu et al. 2023, 2305.01210).

An output is right where it equals the reference's, or where its floats differ from the reference's by at most the problem's
tolerance (`atol`; 1e-6 where none is stated and the reference returns floats) and a relative 1e-7. A match object stands for
True.
Inputs on which the reference or the problem's contract raises are none; where that leaves no input, nothing passes. The text
that is made here runs in the sandbox, with the reference solution.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from whichbits.accuracy.code.python import tree_of

FLOATS = 1e-6
"""Tolerance of floats where a problem states none."""

CHECK = """
import copy
inf, nan = float("inf"), float("nan")


def floats(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(floats, value))
    return isinstance(value, (float, complex))


def close(found, expected, atol):
    if isinstance(expected, (list, tuple)):
        same = isinstance(found, (list, tuple)) and len(found) == len(expected)
        return same and all(close(one, other, atol) for one, other in zip(found, expected))
    numbers = (int, float, complex)
    if not (isinstance(found, numbers) and isinstance(expected, numbers)):
        return found == expected
    if found == expected or (found != found and expected != expected):
        return True
    return abs(found - expected) <= atol + 1e-7 * abs(expected)


def plain(value):
    return True if type(value).__name__ in ("Match", "Matched") else value


def equal(found, expected, atol):
    found, expected = plain(found), plain(expected)
    if AS_SETS:
        return set(found) == set(expected)
    if found == expected:
        return True
    if atol == 0 and floats(expected):
        atol = FLOATS
    return atol > 0 and close(found, expected, atol)


def check(function):
    compared = 0
    for arguments in INPUTS:
        try:
            expected = REFERENCE(*copy.deepcopy(arguments))
        except Exception:
            continue  # no valid input
        assert RIGHT(arguments, function(*copy.deepcopy(arguments)), expected)
        compared += 1
    assert compared, "the reference solution takes none of the inputs"


def RIGHT(arguments, found, expected):
    return equal(found, expected, ATOL)
"""

ROOT = """

def RIGHT(arguments, found, expected):
    def value(at):
        return abs(sum(c * at**power for power, c in enumerate(arguments[0])))

    return value(found) <= max(ATOL or FLOATS, value(expected))
"""
"""HumanEval/32 asks for any zero of a polynomial: what is found is put into it, and must come as near to 0 as the tolerance, or
as the reference does."""

SPECIAL = {"find_zero": ROOT}


def comparison(
    reference: str, entry_point: str, inputs: Sequence[object], *, contract: str = "", atol: float = 0.0, as_sets: bool = False
) -> str:
    """The text of a test: `check(function)` over `inputs`, each the list of the function's arguments.

    `reference` defines `entry_point`; `contract` are assertions on its parameters. With `as_sets` outputs are compared as sets.
    """
    settings = f"INPUTS = {list(inputs)!r}\nATOL, FLOATS, AS_SETS = {float(atol)!r}, {FLOATS!r}, {as_sets!r}\n"
    # In names of its own: solutions define functions called `check` and `close`.
    solution = _with_contract(reference, entry_point, contract)
    loaded = f"SOLUTION = {{}}\nexec({solution!r}, SOLUTION)\nREFERENCE = SOLUTION[{entry_point!r}]\n"
    return f"{CHECK}{SPECIAL.get(entry_point, '')}\n{settings}\n{loaded}"


def _with_contract(reference: str, entry_point: str, contract: str) -> str:
    """The reference solution, whose function asserts the contract first."""
    tree = tree_of(reference)
    asserted = tree_of("def contract():\n" + (contract.strip("\n") or "  pass")).body[0]
    assert isinstance(asserted, ast.FunctionDef)
    function = next(one for one in reversed(tree.body) if isinstance(one, ast.FunctionDef) and one.name == entry_point)
    function.body = [*asserted.body, *function.body]
    return ast.unparse(tree)
