"""`whichbits published`: the tables of papers and model cards, and what they say of a study's base model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.published.figures import PublishedFigure, PublishedTable
    from whichbits.reporting.context import PublishedComparison


def published_tables() -> tuple[PublishedTable, ...]:
    """The published tables that ship with the package."""
    from whichbits.published.tables import tables

    return tables()


def list_published(table: str | None = None, *, model: str | None = None) -> tuple[PublishedFigure, ...]:
    """The figures of one table, by name or number, or of all; with `model`, those of a model of that name.

    Raises UserError where there is no such table, or it says nothing of the model.
    """
    from whichbits.published.tables import all_figures, figures, same_model

    found = tuple(all_figures()) if table is None else figures(table)
    if model is None:
        return found
    of_model = tuple(figure for figure in found if same_model(model, figure.model))
    if not of_model:
        models = ", ".join(dict.fromkeys(figure.model for figure in found if figure.model))
        raise UserError(f"model: nothing is published here of {model!r:.200}", remedy=f"choose from {models}")
    return of_model


def compare_published(study: Path) -> tuple[PublishedComparison, ...]:
    """What is published of a study's base model, next to what the study found, from its store alone. Raises UserError."""
    from whichbits.api.recommend import recommend
    from whichbits.studies.published import published_next_to

    verdict = recommend(Path(study))
    found = published_next_to(verdict)
    if not found:
        raise UserError(
            f"study: nothing is published here of {verdict.model} in its formats",
            remedy="`whichbits published --model NAME` says what there is of another name",
        )
    return found
