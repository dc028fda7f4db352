"""`whichbits recommend` and `whichbits report`: the verdict and the report of a study, from its store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import check_margin, overrides_of

if TYPE_CHECKING:
    from whichbits.reporting.write import Written
    from whichbits.studies.store.manifest import StudyManifest
    from whichbits.verdict.verdict import Verdict


@dataclass(frozen=True)
class Advice:
    """A verdict with what the store has beside it."""

    verdict: Verdict
    report: Path | None
    """The page of this verdict; None where the store has none, or one at another margin or other prices."""
    serve: Mapping[str, str]
    """The command that serves each candidate whose checkpoint is here."""


def recommend(store: Path, *, margin: float | None = None, price: Sequence[str] | None = None) -> Verdict:
    """The verdict of a study from its store alone, at its own margin and prices or at others. Raises UserError."""
    from whichbits.studies import conclusion
    from whichbits.studies.store.store import Store

    manifest, folder = _manifest(store, margin, price), Path(store)
    return conclusion.read_verdict(manifest, folder) or conclusion.judge(manifest, manifest.records(Store(folder)))


def advise(store: Path, *, margin: float | None = None, price: Sequence[str] | None = None) -> Advice:
    """The verdict as `recommend` gives it, with the page and the commands that people are shown. Raises UserError."""
    from whichbits.studies import conclusion
    from whichbits.studies.store.store import Store

    manifest, folder = _manifest(store, margin, price), Path(store)
    records, page = manifest.records(Store(folder)), folder / "report.html"
    kept = conclusion.read_verdict(manifest, folder)
    shown = page if kept is not None and page.is_file() else None
    return Advice(kept or conclusion.judge(manifest, records), shown, conclusion.serve_commands(manifest, records))


def report(store: Path, *, margin: float | None = None, price: Sequence[str] | None = None) -> Written:
    """Write report.html and verdict.json of a study again, from its store alone, at its own margin and prices or at others.

    Raises UserError.
    """
    from whichbits.studies import conclusion
    from whichbits.studies.store.store import Store

    manifest, folder = _manifest(store, margin, price), Path(store)
    records = manifest.records(Store(folder))
    verdict = conclusion.judge(manifest, records)
    return conclusion.write(verdict, manifest, records, folder, options=options_of(margin, price))


def options_of(margin: float | None, price: Sequence[str] | None) -> list[str]:
    """The options of a command line that give a margin and prices."""
    given = [] if margin is None else ["--margin", str(margin)]
    return given + [word for entry in price or () for word in ("--price", entry)]


def _manifest(store: Path, margin: float | None, price: Sequence[str] | None) -> StudyManifest:
    """The study of a store at the margin and prices that are asked for."""
    from whichbits.studies.conclusion import at
    from whichbits.studies.store.manifest import read

    if margin is not None:
        check_margin(margin)
    prices = overrides_of(price)
    return at(read(Path(store)), margin, prices)
