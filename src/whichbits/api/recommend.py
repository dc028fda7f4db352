"""`whichbits recommend` and `whichbits report`: the verdict and the report of a study, from its store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import check_margin, overrides_of
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.reporting.write import Written
    from whichbits.verdict.model import Verdict


def recommend(store: Path, *, margin: float | None = None, price: Sequence[str] | None = None) -> Verdict:
    """The verdict of a study from its store alone, at its own margin and prices or at others. Raises UserError."""
    from whichbits.studies import conclusion
    from whichbits.studies.store.manifest import read

    overrides = _overrides(margin, price)
    ledger = read(Path(store))
    kept = conclusion.read_verdict(Path(store)) if margin is None and not overrides else None
    return kept or conclusion.judge(ledger, Store(Path(store)), margin=margin, prices=overrides)


def report(store: Path, *, margin: float | None = None, price: Sequence[str] | None = None) -> Written:
    """Write report.html and verdict.json of a study again, from its store alone, at its own margin and prices or at others.

    Raises UserError.
    """
    from whichbits.studies import conclusion
    from whichbits.studies.store.manifest import read

    overrides = _overrides(margin, price)
    ledger, place = read(Path(store)), Store(Path(store))
    return conclusion.write(conclusion.judge(ledger, place, margin=margin, prices=overrides), ledger, place)


def serve_commands(store: Path) -> Mapping[str, str]:
    """The command that serves each candidate of a study whose checkpoint is here. Raises UserError."""
    from whichbits.studies import conclusion
    from whichbits.studies.store.manifest import read

    return conclusion.serve_commands(read(Path(store)), Store(Path(store)))


def _overrides(margin: float | None, price: Sequence[str] | None) -> Mapping[str, float]:
    """Prices by device, once the margin is known to be one."""
    if margin is not None:
        check_margin(margin)
    return overrides_of(price)
