"""Statistics of timed rounds: intervals over rounds, and the ratio of two throughputs that each have a best load.

Everything works on logarithms; arrays have the shape (..., rounds) or (..., loads, rounds), and any leading axes.
Needs numpy at once and `scipy.special` at the first call.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whichbits.verdict.estimates import POWER
from whichbits.verdict.statistics import FloatArray, tested_level

Places = NDArray[np.intp]
WORSE = 0.02
"""Chance at which a load that is as good as the best is taken to be worse."""
MOST_ROUNDS = 1000
"""Above so many rounds a difference counts as one that no number of rounds will tell."""


@dataclass(frozen=True)
class RoundValue:
    """A metric in one round: its value (> 0), and the relative standard error that the requests of that round give it.

    `degrees` are the error's degrees of freedom; an error of 0 says that nothing is known of it. `server_started` tells one
    start of a server from another, where it is known.
    """

    value: float
    relative_error: float = 0.0
    degrees: float = 1.0
    server_started: float | None = None


def geometric_mean(values: Sequence[RoundValue]) -> RoundValue:
    """Of several measurements, whose errors are independent."""
    error = math.sqrt(sum(v.relative_error**2 for v in values)) / len(values)
    value = math.exp(sum(math.log(v.value) for v in values) / len(values))
    return RoundValue(value, error, sum(v.degrees for v in values), values[0].server_started)


def mean_of_requests(values: FloatArray, concurrency: float) -> RoundValue:
    """Mean of a round's per-request values (requests,).

    Requests in flight together speed up and slow down together, so `concurrency` of them count as one observation.
    """
    mean = float(values.mean())
    independent = max(1.0, len(values) / concurrency)
    spread = float(values.std(ddof=1)) if len(values) > 1 else mean
    return RoundValue(mean, spread / mean / math.sqrt(independent), max(independent - 1, 1.0))


Units = tuple[tuple[int, ...], ...]
"""Places of the rounds that count as one observation together."""
FEWEST_STARTS = 3
"""Starts of servers from which on each counts as one observation: of two, an interval would be useless."""


def starts_of(keys: Sequence[Hashable]) -> Units:
    """Places of the rounds of each start; `keys` say for each round from which start it is."""
    found: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return tuple(tuple(places) for places in found.values())


def units_of(keys: Sequence[Hashable]) -> Units:
    """What counts as one observation of rounds from these starts of servers: a start, or where there are too few, a round.

    Rounds of one start share what that start gave by chance; taken as independent, they would make intervals too narrow
    (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", 2013).
    """
    starts = starts_of(keys)
    return starts if len(starts) >= FEWEST_STARTS else tuple((place,) for place in range(len(keys)))


def t_half(level: float, degrees: Any) -> Any:
    """Half-width of a two-sided Student interval in standard errors, for any shape of `degrees`."""
    from scipy.special import stdtrit

    return stdtrit(degrees, (1 + level) / 2)


def t_kept(level: float, degrees: Any) -> Any:
    """`t_half` of the level that intervals are made for."""
    return t_half(tested_level(level), degrees)


def half_width(logs: FloatArray, variances: FloatArray, degrees: FloatArray, level: Any) -> FloatArray:
    """Half-width (...) of the interval of the mean of `logs` (..., rounds); infinite for one round.

    A t-interval over rounds with rounds − 1 degrees of freedom. It is never narrower than the errors within the rounds allow:
    by luck two rounds can agree exactly. `variances` (..., terms) are those errors' squares, one term for each side of each
    round, `degrees` (..., terms) their degrees of freedom; their sum has Satterthwaite's.
    """
    rounds = logs.shape[-1]
    if rounds < 2:
        return np.full(logs.shape[:-1], np.inf)
    between: FloatArray = t_kept(level, rounds - 1.0) * logs.std(axis=-1, ddof=1) / math.sqrt(rounds)
    total = variances.sum(axis=-1)
    known = total > 0
    spread = np.where(known, (np.square(variances) / degrees).sum(axis=-1), 1.0)
    own = np.where(known, t_kept(level, np.where(known, np.square(total) / spread, 1.0)) * np.sqrt(total) / rounds, 0.0)
    widest: FloatArray = np.maximum(between, own)
    return widest


@dataclass(frozen=True)
class Sides:
    """One side of a comparison: logarithms (..., loads, rounds), and the variances and degrees of freedom within rounds.

    `allowed` (loads,) marks the loads that it may be taken at; every load where it is None.
    """

    logs: FloatArray
    variances: FloatArray
    degrees: FloatArray
    allowed: FloatArray | None = None

    def score(self) -> FloatArray:
        """Mean over rounds (..., loads), −∞ where the load is not allowed."""
        means: FloatArray = self.logs.mean(axis=-1)
        return means if self.allowed is None else np.where(self.allowed > 0, means, -np.inf)

    def as_good(self, best: Places) -> NDArray[np.bool_]:
        """Loads (..., loads) that are allowed and not shown to be worse than the load `best` (...), at `WORSE`, one-sided."""
        rounds = self.logs.shape[-1]
        gaps = self.at(best)[0][..., None, :] - self.logs
        if rounds < 2:
            return np.isfinite(self.score())
        error = gaps.std(axis=-1, ddof=1) / math.sqrt(rounds)
        shown = gaps.mean(axis=-1) > t_half(1 - 2 * WORSE, rounds - 1.0) * error
        found: NDArray[np.bool_] = np.isfinite(self.score()) & ~shown
        return found

    def by_unit(self, units: Units) -> Sides:
        """With the rounds of each unit averaged."""
        places = [list(unit) for unit in units]
        logs = np.stack([self.logs[..., unit].mean(axis=-1) for unit in places], axis=-1)
        variances = np.stack([self.variances[..., unit].sum(axis=-1) / len(unit) ** 2 for unit in places], axis=-1)
        degrees = np.stack([self.degrees[..., unit].sum(axis=-1) for unit in places], axis=-1)
        return Sides(logs, variances, degrees, self.allowed)

    def at(self, load: Places) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Logarithms, variances and degrees of freedom (..., rounds) at one load (...) each."""
        index = np.asarray(load)[..., None, None]
        logs, variances, degrees = (
            np.take_along_axis(values, index, axis=-2)[..., 0, :] for values in (self.logs, self.variances, self.degrees)
        )
        return logs, variances, degrees


@dataclass(frozen=True)
class BestRatio:
    """Logarithm of a ratio of two throughputs, each at its best load: value and interval (...), and the loads chosen (...)."""

    value: FloatArray
    low: FloatArray
    high: FloatArray
    above: Places
    below: Places


def ratio_at(above: Sides, below: Sides, loads: tuple[Places, Places], level: Any) -> tuple[FloatArray, FloatArray]:
    """Mean and half-width (...) of the logarithm of the ratio at the `loads` (...) given, paired round by round."""
    (a, va, da), (b, vb, db) = above.at(loads[0]), below.at(loads[1])
    logs = a - b
    return logs.mean(axis=-1), half_width(logs, np.concatenate([va, vb], axis=-1), np.concatenate([da, db], axis=-1), level)


def best_ratio(above: Sides, below: Sides, *, level: float) -> BestRatio:
    """Ratio of two throughputs, each at the load where it was highest, paired round by round.

    Choosing the highest of several noisy values favours the lucky one, most where one side is flat over the loads and the
    other is not. So each end is taken a second time where its own side cannot have been lucky: the low end with both sides at
    the best load of `below`, whose luck lowers the ratio, the high end with both at that of `above`. Where one load is clearly
    the best for both sides, all are the same. Where that load is shown to be worse for the other side, it is no substitute:
    then the end holds for all loads at once that its chosen side does no worse at (Bonferroni).
    """
    own = above.score().argmax(axis=-1), below.score().argmax(axis=-1)
    value, half = ratio_at(above, below, own, level)

    def end(sign: float, other: Places, good: NDArray[np.bool_]) -> FloatArray:
        centre, width = ratio_at(above, below, (other, other), level)
        rivals = np.maximum(good.sum(axis=-1), 1)
        apart = value + sign * ratio_at(above, below, own, 1 - (1 - level) / rivals)[1]
        farther = sign * np.maximum(sign * value + half, sign * centre + width)
        shared: NDArray[np.bool_] = np.take_along_axis(good, np.asarray(other)[..., None], axis=-1)[..., 0]
        return np.where(shared, farther, apart)

    low = end(-1.0, own[1], above.as_good(own[0]))
    return BestRatio(value, low, end(1.0, own[0], below.as_good(own[1])), *own)


def best_value(
    side: Sides, joint: FloatArray, chosen: Any = None, *, level: float
) -> tuple[FloatArray, FloatArray, FloatArray, Places]:
    """Logarithm of a throughput at its best load or at the one `chosen` (...), its interval (...), and the load.

    The interval spans that of the load where `joint` (..., loads), the score of all candidates together, is highest: that
    choice hardly looks at this side's luck. Loads where `joint` is −∞ are no such loads.
    """
    chosen = side.score().argmax(axis=-1) if chosen is None else chosen
    shared = joint.argmax(axis=-1)
    logs, variances, degrees = side.at(chosen)
    value, half = logs.mean(axis=-1), half_width(logs, variances, degrees, level)
    logs, variances, degrees = side.at(shared)
    centre, width = logs.mean(axis=-1), half_width(logs, variances, degrees, level)
    possible = np.isfinite(joint.max(axis=-1))
    low, high = value - half, value + half
    return (
        value,
        np.where(possible, np.minimum(low, centre - width), low),
        np.where(possible, np.maximum(high, centre + width), high),
        chosen,
    )


def welch(first: FloatArray, second: FloatArray, *, level: float) -> tuple[float, float]:
    """Difference of the means of two independent samples (rounds,) each, and its half-width; infinite with one value on a side.

    Degrees of freedom by Welch and Satterthwaite, and no more than two samples of the smaller size would have: of two rounds
    against ten the interval would else hold the truth in 90 %.
    """
    difference = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return difference, math.inf
    terms = np.array([sample.var(ddof=1) / len(sample) for sample in (first, second)])
    total = float(terms.sum())
    if total == 0:
        return difference, 0.0
    degrees = total**2 / float(np.sum(terms**2 / np.array([len(first) - 1, len(second) - 1])))
    most = 2.0 * (min(len(first), len(second)) - 1)
    return difference, float(t_kept(level, min(degrees, most))) * math.sqrt(total)


def rounds_to_decide(logs: FloatArray, *, level: float) -> int | None:
    """Rounds, in all, with which a ratio would be told from 1 with 80 % power, if gap and spread stay as in `logs` (rounds,).

    None where there is no gap, no spread to plan with, or no reasonable number.
    """
    if len(logs) < 2 or logs.mean() == 0:
        return None
    spread = float(logs.std(ddof=1)) / abs(float(logs.mean()))
    rounds = np.arange(2, MOST_ROUNDS + 1)
    needed = (t_kept(level, rounds - 1.0) + t_half(2 * POWER - 1, rounds - 1.0)) * spread / np.sqrt(rounds)
    enough = np.flatnonzero(needed <= 1)
    return int(rounds[enough[0]]) if len(enough) else None
