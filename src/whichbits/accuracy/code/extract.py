"""The program in a chat model's reply.

1. What is thought before the answer is dropped: everything up to the last end of a thought. A thought that does not end is no
   answer.
2. Code is what stands in fenced blocks (``` or ~~~) without a language, or with Python's; a block that the end of the reply
   cuts counts up to there. A reply without such a block is code from its first line that begins a definition or an import.
3. From a block's end lines are taken away until it is Python.
4. Blocks up to the last one that defines the function are read together, so that helpers of earlier blocks are there, and a
   later definition of a name replaces an earlier one. Blocks after it are examples of its use.
5. Imports, functions, classes and assignments are kept; what would run when the program is loaded (calls, prints, assertions,
   `if __name__ == "__main__"`) is not.
6. Where no block defines the function, and the request showed its head, the first block is taken as its body.
7. Imports and helpers that the request showed stand before it all.

A function of another name is not renamed: it fails.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence

from whichbits.accuracy.code.python import tree_of
from whichbits.accuracy.thinking.thought import after_thought

FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)
PYTHON = ("", "python", "python3", "py")
BEGINS = re.compile(r"^(?:def |async def |class |import |from \w[\w.]* import |@)", re.MULTILINE)
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def blocks(text: str) -> list[str]:
    """Code of the fenced blocks; of a text without any, what begins with a definition or an import."""
    found, fenced = [], False
    for language, code in _fenced(text):
        fenced = True
        if language.lower() in PYTHON:
            found.append(code)
    begin = BEGINS.search(text)
    return found if fenced or begin is None else [text[begin.start() :]]


def _fenced(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fenced block; one that does not end goes to the end of the text."""
    opened: re.Match[str] | None = None
    for match in FENCE.finditer(text):
        if opened is None:
            opened = match
        elif match[1].startswith(opened[1]) and not match[2]:
            yield opened[2], text[opened.end() + 1 : match.start()]
            opened = None
    if opened is not None:
        yield opened[2], text[opened.end() + 1 :]


def parsed(code: str) -> ast.Module | None:
    """The code without the fewest lines of its end that keep it from being Python; None where nothing is left."""
    lines = textwrap.dedent(code).replace("\r\n", "\n").split("\n")
    while lines:
        try:
            tree = tree_of("\n".join(lines))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            lines.pop()
            continue
        return tree if tree.body else None
    return None


def program_of(reply: str, *, entry_point: str, head: str) -> str | None:
    """The program in a reply, or None where there is none.

    `head` is what the request showed: imports, helpers, and the head of the function with its description where it had one.
    """
    answer = after_thought(reply)
    if answer is None:
        return None
    found = blocks(answer)
    trees = [tree for code in found if (tree := parsed(code)) is not None]
    last = max((number for number, tree in enumerate(trees) if _defines(tree, entry_point)), default=None)
    shown = parsed(head)
    if last is None:
        if shown is None or not _defines(shown, entry_point) or not (found or answer.strip()):
            return None
        return _as_body(head, found[0] if found else answer, entry_point)
    kept: list[ast.stmt] = [] if shown is None else [one for one in shown.body if not _is(one, entry_point)]
    kept += [one for tree in trees[: last + 1] for one in tree.body]
    return _text(kept)


def _as_body(head: str, code: str, entry_point: str) -> str | None:
    """The head with the code as the body of its function."""
    body = textwrap.indent(textwrap.dedent(code.strip("\n")), "    ")
    if parsed(f"def body():\n{body}\n") is None:
        return None
    tree = parsed(f"{head.rstrip()}\n{body}\n")
    return _text(tree.body) if tree is not None and _defines(tree, entry_point) else None


def _text(statements: Sequence[ast.stmt]) -> str:
    kept: list[ast.stmt] = [one for one in statements if isinstance(one, KEPT)]
    return ast.unparse(ast.Module(body=kept, type_ignores=[])) + "\n"


def _is(statement: ast.stmt, name: str) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and statement.name == name


def _defines(tree: ast.Module, name: str) -> bool:
    """Whether a name is defined: as a function or class, or assigned (`f = lambda ...`)."""
    assigned = {
        target.id for one in tree.body if isinstance(one, ast.Assign) for target in one.targets if isinstance(target, ast.Name)
    }
    return name in assigned or any(_is(one, name) for one in tree.body)
