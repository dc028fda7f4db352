"""`whichbits cost`: what serving each candidate costs, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whichbits.cli.options import AsJson, Margin, Prices

if TYPE_CHECKING:
    from whichbits.cli.tables import Row
    from whichbits.cost.money import Cheapest
    from whichbits.studies.costs import CandidateCost, CostReport, WorkloadCost
    from whichbits.verdict.estimates import Timed

SHOWN = 6
"""Ranges of rates that a line has."""


def cost(
    store: Annotated[list[Path], typer.Argument(help="Stores of studies of one model, e.g. studies/demo.")],
    rate: Annotated[float | None, typer.Option(help="Queries a second to be served in all.")] = None,
    utilisation: Annotated[float, typer.Option(help="Share of a replica's highest rate that it is used at.")] = 1.0,
    output_ratio: Annotated[float, typer.Option(help="How many times an output token costs what an input token does.")] = 4.0,
    weight: Annotated[
        list[str] | None, typer.Option("--weight", metavar="WORKLOAD=QUERIES", help="Your mix of queries; repeatable.")
    ] = None,
    margin: Margin = None,
    price: Prices = None,
    as_json: AsJson = False,
) -> None:
    """What serving costs: dollars a query and a million tokens, replicas at a rate, and what would change the answer."""
    import whichbits
    from whichbits.cli.tables import print_json

    found = whichbits.list_costs(
        store, rate=rate, utilisation=utilisation, output_ratio=output_ratio, weight=weight, margin=margin, price=price
    )
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: CostReport) -> None:
    from whichbits.cli.tables import console, print_rows

    out = console()
    for warning in found.warnings:
        out.print(f"warning: {warning}", highlight=False, soft_wrap=True)
    for place in found.workloads:
        out.print(f"\n{place.workload}, {place.mode}", style="bold", highlight=False)
        print_rows(_rows(place))
        for line in _changes(place):
            out.print(line, highlight=False, soft_wrap=True)
    if found.reductions:
        out.print("\ncost reduction over workloads", style="bold", highlight=False)
        print_rows(
            [
                {
                    "candidate": each.candidate,
                    "mode": each.mode,
                    "workloads": each.workloads,
                    "arithmetic": each.means.arithmetic,
                    "geometric": each.means.geometric,
                    **({} if each.means.weighted is None else {"weighted": each.means.weighted}),
                }
                for each in found.reductions
            ]
        )


def _rows(place: WorkloadCost) -> list[Row]:
    """A row a candidate, with the columns that some candidate has."""
    rows = [_row(one) for one in place.candidates]
    known = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return [{name: row[name] for name in known} for row in rows]


def _row(one: CandidateCost) -> Row:
    at, paid = one.at_rate, None
    if one.payback_queries is not None:
        hours = "" if at is None or at.payback_hours is None else f" ({at.payback_hours:,.1f} h)"
        paid = f"{one.payback_queries:,.0f} queries{hours}"
    return {
        "candidate": one.candidate,
        "accuracy": one.state,
        "on": f"{one.devices} x {one.hardware}",
        "USD/h": one.usd_per_hour,
        "queries/s": one.queries_per_second,
        "USD/1000 queries": _interval(one.usd_per_query, 1000),
        "USD/M input": one.usd_per_million.input,
        "USD/M output": one.usd_per_million.output,
        "USD/M tokens": one.usd_per_million.blended,
        "cost reduction": None if one.cost_reduction is None else _interval(one.cost_reduction),
        "replicas": None if at is None else at.replicas,
        "used": None if at is None else f"{at.used:.0%}",
        "USD/month": None if at is None else at.usd_per_month,
        "paid for after": paid,
    }


def _interval(found: Timed, times: float = 1.0) -> str:
    from whichbits.verdict.estimates import Estimate

    value = f"{times * found.value:.3g}"
    return f"{value} ({times * found.low:.3g} to {times * found.high:.3g})" if isinstance(found, Estimate) else value


def _changes(place: WorkloadCost) -> list[str]:
    """What would change the answer: the rate, the price."""
    lines = []
    if len(place.by_rate) > 1:
        lines.append(f"in whole replicas: {_by_rate(place.by_rate)}")
    if (flip := place.flip) is not None:
        lines.append(
            f"{flip.candidate} and {flip.runner_up} are on the same devices: no price changes their order"
            if flip.flips_above is None
            else f"{flip.candidate} is cheapest up to {flip.flips_above:.3g} USD/h (now {flip.usd_per_hour:.3g}), "
            f"above that {flip.runner_up}"
        )
    return lines


def _by_rate(ranges: Sequence[Cheapest]) -> str:
    """Who is cheapest at which rate, in short: all ranges are in the JSON."""
    end = ranges[-1].up_to
    always = [name for name in ranges[0].names if all(name in one.names for one in ranges)]
    if always:
        alone = next((one for one in ranges if one.names == (always[0],)), None)
        since = "" if alone is None else f", alone for the first time above {alone.above:.3g}/s"
        return f"{always[0]} costs no more than the others at any rate up to {end:.3g}/s{since}"
    shown = [f"{' or '.join(one.names)} up to {one.up_to:.3g}/s" for one in ranges[:SHOWN]]
    return f"cheapest {', '.join(shown)}{', ...' if len(ranges) > SHOWN else ''}"
