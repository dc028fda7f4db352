"""The table of errors in docs/errors.md, read from the code: `python tools/errors.py > docs/errors.md`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "whichbits"

HEADING = """# Errors

Every mistake that whichbits tells its user about: what the line says, and what helps. In a line the parts in braces stand for
your own names and values. The command line prints one such line and exits with code 2; nothing is lost.

This page is made from the code by `python tools/errors.py > docs/errors.md`. Each of these mistakes is made by a test of
`tests/remedies/`, which then follows the remedy and goes on, but for the rows that say *not tried*, and why.
"""

NOT_TRIED: dict[tuple[str, str], str] = {
    ("models/tensor_check.py", "{folder}: transformers cannot load it"): "no checkpoint is known that gets there",
    (
        "prediction/training/calibrate.py",
        "serving results: no coefficients fit them",
    ): "no measurements are known that get there",
}
"""Why no test follows the remedy of an error, by module and beginning of its message."""


@dataclass(frozen=True)
class Site:
    """One place in the code that makes a UserError, lines `first` to `last`; `message` and `remedy` have values in braces."""

    module: str
    message: str
    remedy: str
    first: int
    last: int
    handed_on: bool = False
    """Whether it is another place's remedy that is handed on, and the page has it there."""


@cache
def sites() -> tuple[Site, ...]:
    """All places that make a UserError, by module, in the order of the code."""
    found: list[Site] = []
    for path in sorted(set(SOURCE.rglob("*.py")) - {SOURCE / "core" / "errors.py"}):
        found += _sites(path)
    return tuple(found)


def _sites(path: Path) -> Iterator[Site]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = path.relative_to(SOURCE).as_posix()
    shared = _names(tree.body)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
        known = {**shared, **_names(function.body)}
        nested = {
            id(inner)
            for child in ast.walk(function)
            if child is not function and isinstance(child, ast.FunctionDef)
            for inner in ast.walk(child)
        }
        for call in sorted(
            (node for node in ast.walk(function) if isinstance(node, ast.Call) and id(node) not in nested),
            key=lambda node: node.lineno,
        ):
            parts = _parts(call)
            if parts is not None:
                message, remedy = (_text(part, known) for part in parts)
                handed_on = isinstance(parts[1], ast.Attribute) and parts[1].attr == "remedy"
                yield Site(module, message, remedy, call.lineno, call.end_lineno or call.lineno, handed_on)


def _parts(call: ast.Call) -> tuple[ast.expr, ast.expr] | None:
    """Message and remedy of a call that makes a UserError."""
    name = call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "UserError" and call.args and "remedy" in named:
        return call.args[0], named["remedy"]
    if name == "error" and len(call.args) == 3 and isinstance(call.func, ast.Attribute):
        return call.args[1], call.args[2]
    return None


def _names(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """Expressions that names stand for, where they are assigned once."""
    assigned: dict[str, list[ast.expr]] = {}
    for statement in body:
        for node in ast.walk(statement):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    assigned.setdefault(name, []).append(value)
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    for name, value in zip(names, values, strict=False):
                        if isinstance(name, ast.Name):
                            assigned.setdefault(name.id, []).append(value)
    return {name: values[0] for name, values in assigned.items() if len(values) == 1}


def _text(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """A string expression as text, what it fills in as {name}."""
    match node:
        case ast.Constant(value=str() as value):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_text(value, known) for value in values)
        case ast.FormattedValue(value=ast.Name(id=name)) if isinstance(known.get(name), ast.Constant | ast.JoinedStr):
            return _text(known[name], known)
        case ast.FormattedValue(value=value):
            return "{" + _label(value) + "}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, known) + _text(right, known)
        case ast.Name(id=name) if name in known and not isinstance(known[name], ast.Name):
            return _text(known[name], {**known, name: ast.Name(id=name)})
        case ast.IfExp(body=body, orelse=other):
            first, second = _text(body, known), _text(other, known)
            return f"{first} / {second}" if first and second else first or second
        case ast.Call(func=ast.Attribute(value=value, attr="replace")):
            return _text(value, known)
    return "{" + _label(node) + "}"


def _label(node: ast.expr) -> str:
    """What an expression is called: the last name in it."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Call(func=ast.Attribute(value=value, attr="join")):
            return _label(node.args[0]) if node.args else _label(value)
        case ast.Call(func=function, args=arguments):
            return _label(arguments[0]) if arguments else _label(function)
        case (
            ast.Subscript(value=value) | ast.BoolOp(values=[value, *_]) | ast.GeneratorExp(elt=value) | ast.ListComp(elt=value)
        ):
            return _label(value)
        case ast.IfExp(body=body):
            return _label(body)
        case ast.BinOp(left=left):
            return _label(left)
    return "…"


def not_tried(site: Site) -> str | None:
    """Why no test follows a remedy; None where one does."""
    key = next((key for key in NOT_TRIED if key[0] == site.module and site.message.startswith(key[1])), None)
    return None if key is None else NOT_TRIED[key]


def page(found: Sequence[Site]) -> str:
    """The Markdown page."""
    lines = [HEADING]
    package = None
    for site in found:
        if site.handed_on:
            continue
        own = site.module.split("/")[0].removesuffix(".py")
        if own != package:
            package = own
            lines += [f"\n## {own}\n", "| the line says | what helps |", "|---|---|"]
        reason = not_tried(site)
        remark = f" (*not tried*: {reason})" if reason else ""
        lines.append(f"| {_cell(site.message)} | {_cell(site.remedy)}{remark} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(sites()), end="")
