"""Python source as syntax trees, parsed without warnings about escapes."""

from __future__ import annotations

import ast
import warnings


def tree_of(code: str) -> ast.Module:
    """The syntax tree. Raises what `ast.parse` raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)
