"""`whichbits cost`: what serving each candidate costs, from the stores of one or several studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import check_margin, overrides_of
from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.studies.costs import CostReport


def list_costs(
    store: Sequence[Path],
    *,
    rate: float | None = None,
    utilisation: float = 1.0,
    output_ratio: float = 4.0,
    weight: Sequence[str] | None = None,
    margin: float | None = None,
    price: Sequence[str] | None = None,
) -> CostReport:
    """Dollars a query and a million tokens, cost reductions, replicas at a rate, and what would change the answer.

    Several stores are of studies of one model on other devices, or other numbers of them: each candidate is counted where it is
    cheapest. `rate` is queries a second to be served in all. `utilisation` is the share of a replica's highest rate that it is
    used at, `output_ratio` how many times an output token costs what an input token does. `weight` is WORKLOAD=QUERIES, for the
    mean over workloads. Margin and prices are the studies' own or those given. Raises UserError.
    """
    from whichbits.cost.money import parse_weights
    from whichbits.studies import conclusion
    from whichbits.studies.costs import JudgedStudy, Terms, costs
    from whichbits.studies.store.manifest import read
    from whichbits.studies.store.store import Store

    for name, value, most in (("rate", rate, None), ("utilisation", utilisation, 1.0), ("output_ratio", output_ratio, None)):
        if value is not None and not (0 < value < float("inf") and (most is None or value <= most)):
            bounds = "above 0" if most is None else f"above 0 and at most {most:g}"
            raise UserError(f"{name}: {value:g} is out of range", remedy=f"give a number {bounds}")
    if margin is not None:
        check_margin(margin)
    prices = overrides_of(price)
    studies = []
    for folder in map(Path, store):
        manifest = conclusion.at(read(folder), margin, prices)
        records = manifest.records(Store(folder))
        verdict = conclusion.read_verdict(manifest, folder) or conclusion.judge(manifest, records)
        studies.append(JudgedStudy(manifest, verdict, tuple(records)))
    terms = Terms(rate, utilisation, output_ratio, parse_weights(weight) if weight else None)
    return costs(studies, terms)
