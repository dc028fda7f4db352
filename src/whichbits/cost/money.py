"""What a rate of queries at a price an hour comes to: dollars a query and a token, replicas at a rate, and when that pays.

A price is of a replica: all the devices that serve one copy of the model. `utilisation` is the share of a replica's highest
rate that it is used at on average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whichbits.core.errors import UserError

SECONDS_AN_HOUR = 3600
MILLION = 1_000_000
TOLERANCE = 1e-9
"""Share of a replica by which rounding of floats may miss a whole number of them."""
WHOLE_REPLICAS = 1000
"""With more of them the last one, used in part, is less than 0.1 % of the dollars."""


def usd_per_query(queries_per_second: float, usd_per_hour: float, utilisation: float = 1.0) -> float:
    """Dollars a query: price per second / (rate · utilisation)."""
    return usd_per_hour / SECONDS_AN_HOUR / (queries_per_second * utilisation)


@dataclass(frozen=True)
class TokenPrices:
    """Dollars a million tokens of one query's cost."""

    input: float
    output: float
    blended: float
    """Of all tokens alike, input and output together."""


def token_prices(per_query: float, prompt_tokens: float, output_tokens: float, output_ratio: float) -> TokenPrices:
    """A query's cost by its tokens, where one of output costs `output_ratio` times one of input.

    The sum over the query's tokens is the cost of the query, whatever the ratio.
    """
    of_input = per_query / (prompt_tokens + output_ratio * output_tokens)
    return TokenPrices(
        input=MILLION * of_input,
        output=MILLION * of_input * output_ratio,
        blended=MILLION * per_query / (prompt_tokens + output_tokens),
    )


def replicas(rate: float, queries_per_second: float, utilisation: float = 1.0) -> int:
    """Whole replicas that keep up `rate` queries a second, each used at no more than `utilisation`; at least one."""
    return max(1, math.ceil(rate / (queries_per_second * utilisation) - TOLERANCE))


@dataclass(frozen=True)
class Replica:
    """One way to serve: a name, the highest rate of a replica in queries a second, and its price."""

    name: str
    queries_per_second: float
    usd_per_hour: float

    def usd_per_hour_at(self, rate: float, utilisation: float) -> float:
        """Of as many as `rate` queries a second need."""
        return replicas(rate, self.queries_per_second, utilisation) * self.usd_per_hour


@dataclass(frozen=True)
class Cheapest:
    """Which ways to serve cost least between two rates."""

    above: float
    """Queries a second; the range begins beyond it."""
    up_to: float
    names: tuple[str, ...]
    """Those that cost the same, in the order of the replicas."""
    usd_per_hour: float


def cheapest_by_rate(options: Sequence[Replica], up_to: float, utilisation: float = 1.0) -> tuple[Cheapest, ...]:
    """The cheapest of `options` at each rate above 0 up to `up_to`, with whole replicas: a staircase.

    Neighbouring steps with the same names are one range, with the dollars an hour at its end. The last range is decided by the
    cost of a query: it begins where no other option can be cheaper whatever its last replica has left to do, or, where two are
    close, at `WHOLE_REPLICAS` of the option whose query costs least.
    """
    steps = [option.queries_per_second * utilisation for option in options]
    queries = [option.usd_per_hour / step for option, step in zip(options, steps, strict=True)]
    best = queries.index(min(queries))
    # A rival costs its own cost of a query or more, and the best at most one replica above its own.
    price = options[best].usd_per_hour
    able = [math.inf if math.isclose(each, queries[best]) else price / (each - queries[best]) for each in queries]
    rivals = [limit for place, limit in enumerate(able) if place != best]
    whole = min(up_to, WHOLE_REPLICAS * steps[best], max(rivals, default=0.0))
    ends = {whole, up_to} - {0.0}
    for step, limit in zip(steps, able, strict=True):
        ends |= {number * step for number in range(1, math.floor(min(whole, limit) / step) + 1)}
    found: list[Cheapest] = []
    before = 0.0
    for end in sorted(ends):
        if end - before <= TOLERANCE * end:
            continue
        costs = queries
        if end <= whole:
            costs = [option.usd_per_hour_at((before + end) / 2, utilisation) for option in options]
        cheapest = [option for option, cost in zip(options, costs, strict=True) if math.isclose(cost, min(costs))]
        names = tuple(option.name for option in cheapest)
        least = min(option.usd_per_hour_at(end, utilisation) for option in cheapest)
        if found and found[-1].names == names:
            found[-1] = Cheapest(found[-1].above, end, names, least)
        else:
            found.append(Cheapest(before, end, names, least))
        before = end
    return tuple(found)


@dataclass(frozen=True)
class Means:
    """A cost reduction over workloads, by three means of the ratios."""

    arithmetic: float
    """What arXiv 2411.02355 prints."""
    geometric: float
    """Does not depend on which side is called the base."""
    weighted: float | None
    """By the user's weights: cost of the base's mix of queries / cost of the candidate's; None without weights."""


def means(
    reductions: Mapping[str, float], weights: Mapping[str, float] | None = None, base: Mapping[str, float] | None = None
) -> Means:
    """Means of `reductions` by workload.

    `weights` are queries of each workload, in any unit, and `base` the base's dollars a query. What the mix costs is
    Σ w · base, and with the candidate Σ w · base / reduction: their ratio is the weighted mean.
    """
    values = list(reductions.values())
    weighted = None
    if weights is not None and base is not None:
        mix = {name: weights.get(name, 0.0) * base[name] for name in reductions}
        weighted = sum(mix.values()) / sum(cost / reductions[name] for name, cost in mix.items())
    return Means(
        arithmetic=sum(values) / len(values), geometric=math.exp(sum(map(math.log, values)) / len(values)), weighted=weighted
    )


def payback(one_off: float, base_per_query: float, per_query: float) -> float | None:
    """After how many queries what each saves adds up to `one_off` dollars; None where nothing is saved."""
    saved = base_per_query - per_query
    return one_off / saved if saved > 0 else None


def break_even_price(usd_per_hour: float, queries_per_second: float, other_per_query: float) -> float:
    """The price an hour at which a way to serve costs as much a query as another; `usd_per_hour` where it does already."""
    return usd_per_hour * other_per_query / usd_per_query(queries_per_second, usd_per_hour)


def parse_weights(entries: Sequence[str]) -> dict[str, float]:
    """Queries of each workload, of `WORKLOAD=WEIGHT` each. Raises UserError."""
    found: dict[str, float] = {}
    for entry in entries:
        name, _, amount = entry.partition("=")
        try:
            weight = float(amount)
        except ValueError:
            weight = -1.0
        if not name.strip() or not 0 < weight < math.inf:
            raise UserError(
                f"weight: '{entry}' is not WORKLOAD=WEIGHT with a number above 0", remedy="write it as in --weight rag=3"
            )
        found[name.strip()] = weight
    return found
