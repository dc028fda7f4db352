"""Which of two candidates serves more queries: at loads that are valid for both, each at its best, in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from whichbits.verdict.estimates import Timed
from whichbits.verdict.round_statistics import Sides, best_ratio, best_value, rounds_to_decide, units_of, welch
from whichbits.verdict.speed import RoundKey, Series, start_of, timed

ENOUGH = 3
"""Rounds that two candidates must share to be compared directly where one of them has more."""


@dataclass(frozen=True)
class Profile:
    """Queries per second of a candidate at each load of one mode of a workload."""

    candidate: str
    series: Mapping[str, Series]
    """By load: the valid rounds."""
    measured: Mapping[str, frozenset[RoundKey]]
    """By load: the rounds in which it was measured, valid or not."""
    allowed: frozenset[str]
    """The loads that are shown to keep the workload's limits, or where there is none, those that may."""
    kept: frozenset[str] = frozenset()
    """The loads that are shown to keep them, by the percentiles' intervals."""
    possible: frozenset[str] = frozenset()
    """The loads that are not shown to miss them."""

    @property
    def rounds(self) -> frozenset[RoundKey]:
        """Rounds in which any load was measured."""
        return frozenset(key for keys in self.measured.values() for key in keys)

    def sides(self, shared: Shared) -> Sides:
        """Its logarithms at the loads and in the rounds given."""
        values = [[self.series[load][key] for key in shared.rounds] for load in shared.loads]
        return Sides(
            np.log([[v.value for v in row] for row in values]),
            np.array([[v.relative_error**2 for v in row] for row in values]),
            np.array([[v.degrees for v in row] for row in values]),
            np.array([float(load in self.allowed) for load in shared.loads]),
        )


def starts(profiles: Sequence[Profile], shared: Shared) -> list[tuple[float | str, ...]]:
    """From which start of their servers each shared round is."""
    load = shared.loads[0]
    return [tuple(start_of(key, profile.series[load][key]) for profile in profiles) for key in shared.rounds]


@dataclass(frozen=True)
class Shared:
    """Loads, and the rounds in which every one of them is valid for all that are compared."""

    loads: tuple[str, ...]
    rounds: tuple[RoundKey, ...]
    common: int
    """Rounds in which all of them were measured."""


@dataclass(frozen=True)
class Comparison:
    """Queries per second of one candidate over another's, each at its best load of those shared."""

    ratio: Timed
    above: str
    below: str
    """The loads."""
    shared: Shared
    rounds_needed: int | None
    """Rounds, in all, with which the two would be told apart; None where they are, or where no number would do."""


def shared_loads(profiles: Sequence[Profile]) -> Shared | None:
    """The loads that are valid for all, in as many of their common rounds as possible; None where there is none.

    Loads that are valid in fewer rounds are left out: their means are over other rounds, and which rounds are missing may
    depend on the speed itself.
    """
    common = frozenset.intersection(*(profile.rounds for profile in profiles))
    groups: dict[frozenset[RoundKey], list[str]] = {}
    for load in profiles[0].series:
        if all(load in profile.series for profile in profiles):
            rounds = common.intersection(*(profile.series[load].keys() for profile in profiles))
            groups.setdefault(rounds, []).append(load)
    usable = [
        (rounds, names)
        for rounds, names in groups.items()
        if rounds and all(profile.allowed.intersection(names) for profile in profiles)
    ]
    if not usable:
        return None
    rounds, names = max(usable, key=lambda group: (len(group[0]), len(group[1]), sorted(group[1])))
    return Shared(tuple(names), tuple(sorted(rounds)), len(common))


def contending(profiles: Sequence[Profile], shared: Shared) -> tuple[str, ...]:
    """The shared loads that may be the best of any: not shown to miss the limits, nor to be worse than its best so far.

    On others the ratio does not depend, but for the chance of `round_statistics.WORSE` that a load is ruled out wrongly.
    """
    found: set[str] = set()
    for profile in profiles:
        best = np.asarray(profile.sides(shared).score().argmax())
        good = replace(profile, allowed=profile.possible).sides(shared).as_good(best)
        found.update(load for load, may_be in zip(shared.loads, good, strict=True) if may_be)
    return tuple(load for load in shared.loads if load in found)


def compare(one: Profile, other: Profile, base: Profile | None, *, level: float) -> Comparison | None:
    """`one` over `other`; None where nothing that is valid for both can be compared.

    In the rounds that they share; where they were measured in different sessions, each over the base of its own rounds.
    """
    direct = shared_loads((one, other))
    through = None if base is None or base in (one, other) else (shared_loads((one, base)), shared_loads((other, base)))
    if direct is not None:
        most = 0 if through is None else min(len(part.rounds) if part else 0 for part in through)
        if len(direct.rounds) >= min(most, ENOUGH):
            return _within_rounds(one, other, direct, level)
    if through is None or through[0] is None or through[1] is None or base is None:
        return None
    return _through_base(one, other, base, (through[0], through[1]), level)


def _within_rounds(one: Profile, other: Profile, shared: Shared, level: float) -> Comparison:
    units = units_of(starts((one, other), shared))
    above, below = (profile.sides(shared).by_unit(units) for profile in (one, other))
    found = best_ratio(above, below, level=level)
    value, low, high = (float(part) for part in (found.value, found.low, found.high))
    told = low > 0 or high < 0
    logs = above.at(found.above)[0] - below.at(found.below)[0]
    return Comparison(
        timed(value, low, high, level=level),
        shared.loads[int(found.above)],
        shared.loads[int(found.below)],
        shared,
        None if told else rounds_to_decide(logs, level=level),
    )


def _through_base(
    one: Profile, other: Profile, base: Profile, shared: tuple[Shared, Shared], level: float
) -> Comparison | None:
    """Ratio of two ratios to the base, which was measured at one load in the rounds of both."""
    loads = tuple(load for load in shared[0].loads if load in shared[1].loads)
    parts = [replace(part, loads=loads) for part in shared]
    if not loads or not all(profile.allowed.intersection(loads) for profile in (one, other)):
        return None
    each = list(zip((one, other), parts, strict=True))
    units = [units_of(starts((profile, base), part)) for profile, part in each]
    sides = [profile.sides(part).by_unit(unit) for (profile, part), unit in zip(each, units, strict=True)]
    bases = [base.sides(part).by_unit(unit).logs for part, unit in zip(parts, units, strict=True)]
    of_base = sum((logs.mean(axis=-1) for logs in bases), start=np.zeros(len(loads)))
    reference = int(of_base.argmax())
    scores = [side.score() for side in sides]
    own = [int(score.argmax()) for score in scores]
    joint = scores[0] + scores[1]
    choices = [own] + ([[int(joint.argmax())] * 2] if np.isfinite(joint.max()) else [])
    ends = []
    for chosen in choices:
        samples = [side.logs[load] - logs[reference] for side, load, logs in zip(sides, chosen, bases, strict=True)]
        ends.append(welch(samples[0], samples[1], level=level))
    value = ends[0][0]
    low, high = min(mean - half for mean, half in ends), max(mean + half for mean, half in ends)
    fewer = min(parts, key=lambda part: len(part.rounds))
    return Comparison(timed(value, low, high, level=level), loads[own[0]], loads[own[1]], fewer, None)


def rate(profile: Profile, others: Sequence[Profile], at: str | None, *, level: float) -> tuple[Timed, str]:
    """Queries per second at the load `at`, or where it is None at the best one, and that load.

    Raises ValueError where the candidate has no valid load within its limits.
    """
    alone = shared_loads((profile,))
    if alone is None:
        raise ValueError(f"{profile.candidate} has no valid load within its limits")
    if at is not None and at not in alone.loads:
        alone = Shared((at,), tuple(sorted(profile.series[at])), len(profile.rounds))
    side = profile.sides(alone).by_unit(units_of(starts((profile,), alone)))
    joint = np.full(len(alone.loads), -np.inf)
    together = shared_loads((profile, *others)) if others else None
    if together is not None:
        scores = sum((p.sides(together).score() for p in (profile, *others)), start=np.zeros(len(together.loads)))
        by_load = dict(zip(together.loads, scores, strict=True))
        joint = np.array([by_load.get(load, -np.inf) for load in alone.loads])
    chosen = None if at is None else np.intp(alone.loads.index(at))
    value, low, high, best = best_value(side, joint, chosen, level=level)
    return timed(float(value), float(low), float(high), level=level), alone.loads[int(best)]
