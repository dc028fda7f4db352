"""Python as syntax trees, without what Python says of odd escapes in it."""

from __future__ import annotations

import ast
import warnings


def tree_of(code: str) -> ast.Module:
    """The syntax tree. Raises what `ast.parse` raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)
