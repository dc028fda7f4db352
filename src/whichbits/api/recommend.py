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
    from whichbits.studies.store.place import Place
    from whichbits.studies.store.store import Store
    from whichbits.verdict.verdict import Verdict


@dataclass(frozen=True)
class Advice:
    """A verdict with what the store has beside it."""

    verdict: Verdict
    report: Path | None
    """The page of this verdict; None where the store has none, or one at another margin or other prices."""
    serve: Mapping[str, str]
    """The command that serves each candidate whose checkpoint is here."""


def recommend(store: Place, *, margin: float | None = None, price: Sequence[str] | None = None) -> Verdict:
    """The verdict of a study from its store alone, at its own margin and prices or at others. Raises UserError."""
    from whichbits.studies import conclusion

    manifest, opened = _opened(store, margin, price)
    return conclusion.read_verdict(manifest, opened.folder) or conclusion.judge(manifest, manifest.records(opened))


def advise(store: Place, *, margin: float | None = None, price: Sequence[str] | None = None) -> Advice:
    """The verdict as `recommend` gives it, with the page and the commands that people are shown. Raises UserError."""
    from whichbits.studies import conclusion

    manifest, opened = _opened(store, margin, price)
    records, page = manifest.records(opened), opened.folder / "report.html"
    kept = conclusion.read_verdict(manifest, opened.folder)
    shown = page if kept is not None and page.is_file() else None
    return Advice(kept or conclusion.judge(manifest, records), shown, conclusion.serve_commands(manifest, records))


def report(store: Place, *, margin: float | None = None, price: Sequence[str] | None = None) -> Written:
    """Write report.html and verdict.json of a study again, from its store alone, at its own margin and prices or at others.

    Raises UserError.
    """
    from whichbits.studies import conclusion

    manifest, opened = _opened(store, margin, price)
    records = manifest.records(opened)
    verdict = conclusion.judge(manifest, records)
    return conclusion.write(verdict, manifest, records, opened.folder, options=options_of(margin, price))


def options_of(margin: float | None, price: Sequence[str] | None) -> list[str]:
    """The options of a command line that give a margin and prices."""
    given = [] if margin is None else ["--margin", str(margin)]
    return given + [word for entry in price or () for word in ("--price", entry)]


def _opened(store: Place, margin: float | None, price: Sequence[str] | None) -> tuple[StudyManifest, Store]:
    """The study of a store at the margin and prices that are asked for, and the store as it is now."""
    from whichbits.studies.conclusion import at
    from whichbits.studies.store.manifest import read
    from whichbits.studies.store.place import open_store

    if margin is not None:
        check_margin(margin)
    prices = overrides_of(price)
    opened = open_store(store)
    opened.refresh()
    return at(read(opened.folder), margin, prices), opened
