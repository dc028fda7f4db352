"""Reducers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from whichbits.accuracy.reducers.majority import Majority
from whichbits.accuracy.reducers.mean import Mean
from whichbits.accuracy.reducers.pass_at_k import PassAtK
from whichbits.accuracy.reducers.reducer import Reducer
from whichbits.core.errors import UserError

REDUCERS: Mapping[str, Callable[[], Reducer]] = {"mean": Mean, "majority": Majority}
NUMBERED: Mapping[str, Callable[[int], Reducer]] = {"pass": PassAtK}
"""Those whose name has a number after an @."""


def reducer(name: str) -> Reducer:
    """The reducer of that name: `mean`, `majority`, `pass@K`. Raises UserError where there is none."""
    if name in REDUCERS:
        return REDUCERS[name]()
    kind, _, number = name.partition("@")
    if kind in NUMBERED and number.isascii() and number.isdigit() and 0 < int(number) <= 10_000:
        return NUMBERED[kind](int(number))
    known = ", ".join([*REDUCERS, *(f"{kind}@K with K from 1" for kind in NUMBERED)])
    raise UserError(f"reducer: there is no reducer {name!r}", remedy=f"choose from {known}")
