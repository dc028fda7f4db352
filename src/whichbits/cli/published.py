"""`whichbits published`: the tables of papers and model cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whichbits.cli.options import AsJson
from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.cli.tables import Row
    from whichbits.published.figures import PublishedFigure
    from whichbits.reporting.context import PublishedComparison


def published(
    table: Annotated[str | None, typer.Argument(help="Table by name or number, e.g. 2; default: list the tables.")] = None,
    model: Annotated[str | None, typer.Option(help="Only figures of the model of that name.")] = None,
    study: Annotated[
        Path | None, typer.Option(help="Store of a study: what is published of its model, next to its own figures.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the papers' tables, with their errata.

    All of one, what they say of a model, or next to a study's own figures.
    """
    import whichbits
    from whichbits.cli.tables import print_results

    if study is not None:
        if table is not None or model is not None:
            raise UserError("study: it says which model is meant", remedy="leave out the table and --model, or --study")
        print_results(whichbits.compare_published(study), as_json, _comparison)
    elif table is None and model is None:
        print_results(whichbits.published_tables(), as_json)
    else:
        print_results(whichbits.list_published(table, model=model), as_json, _figure)


def _figure(figure: PublishedFigure) -> Row:
    names = ("model", "format", "setting", "on", "quantity", "printed", "corrected", "erratum", "source")
    return {name: getattr(figure, name) for name in names}


def _comparison(entry: PublishedComparison) -> Row:
    from whichbits.reporting.numbers import interval

    unit = "%" if entry.quantity == "recovery" else ""
    return {
        "candidate": entry.candidate,
        "on": entry.on,
        "quantity": entry.quantity,
        "here": interval(entry.own, unit) if entry.own else None,
        "published": entry.published,
        "published_above_chance": entry.above_chance,
        "source": entry.source,
        "erratum": entry.erratum,
    }
