"""numba's compiler, with what it made kept where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Any], Any]:
    """`numba.njit` that keeps its result on disk; where neither the package's folder nor a home can be written, it does not."""

    def decorate(function: Any) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator" not in str(error):
                raise
            return njit(**options)(function)

    return decorate
