"""Repeated looks at speeds: rounds are added where a comparison is open, and intervals are widened to keep the error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import or_

from whichbits.schema.workload import Loads
from whichbits.verdict.estimates import Estimate, Mode, Timed
from whichbits.verdict.phases import ArrivalsFinding
from whichbits.verdict.reasons import LimitsNotShown
from whichbits.verdict.verdict import CapacityFinding, CostFinding, Verdict


@dataclass(frozen=True)
class OpenSpeed:
    """What of one workload is not decided: of which candidates, and the loads that it depends on."""

    workload: str
    about: str
    """A mode, a load of arrivals, or `capacity`."""
    candidates: tuple[str, ...]
    """The base is among them where it is about its own limits."""
    loads: Loads


def level_of_looks(level: float, looks: Sequence[int]) -> float:
    """Confidence of each interval so that those of all `looks` (rounds at each) hold together with confidence `level`.

    The error is shared equally (Bonferroni). That holds whatever decides whether there is another look, and of what.
    """
    return 1 - (1 - level) / len(looks) if len(looks) > 1 else level


def open_speeds(verdict: Verdict) -> tuple[OpenSpeed, ...]:
    """Where further rounds may decide something, for each workload; none where all is decided.

    Only of what may be deployed: candidates that are non-inferior or inconclusive, and the base. Open are

    - in each mode: a candidate that is neither shown faster nor shown slower than the base; those among which the fastest is
      not told; and whoever is compared at a load that is not shown to keep the limits;
    - at each load of arrivals: whoever is not shown to keep the limits, or to miss one; where there are no limits, a candidate
      whose latency is not told from the base's;
    - of the capacity: whoever is not shown to reach the target rate, or to miss it; where there is none, a candidate whose
      capacity is not told from the base's.

    What is decided is measured no further, nor are numbers of requests in flight that are shown not to be the best of any that
    is open, nor of the base.
    """
    found: dict[tuple[str, str], list[tuple[str, Loads]]] = {}
    for one in chain(_in_flight(verdict), _arrivals(verdict), _capacities(verdict)):
        found.setdefault((one.workload, one.about), []).append((one.candidate, one.loads))
    return tuple(
        OpenSpeed(workload, about, tuple(dict.fromkeys(name for name, _ in here)), reduce(or_, (loads for _, loads in here)))
        for (workload, about), here in found.items()
    )


@dataclass(frozen=True)
class _Open:
    workload: str
    about: str
    candidate: str
    loads: Loads


def _in_flight(verdict: Verdict) -> Iterator[_Open]:
    able = _able(verdict)
    for found in verdict.cost:
        loads = Loads(in_flight=found.contending)
        untold = found.candidate in able and found.valid and _untold(found.cost_reduction)
        if untold or found.candidate in _contenders(verdict, found.workload, found.mode):
            yield _Open(found.workload, found.mode, found.candidate, loads)
        if found.candidate in able and found.valid:
            for name in _limits_not_shown(verdict, found):
                yield _Open(found.workload, found.mode, name, loads)


def _contenders(verdict: Verdict, workload: str, mode: Mode) -> frozenset[str]:
    """The recommended candidate and those that it may not be faster than, where there are some."""
    return frozenset(
        name
        for answer in verdict.recommendations
        if (answer.workload, answer.mode) == (workload, mode) and answer.not_shown_slower
        for name in (answer.candidate, *answer.not_shown_slower)
    )


def _limits_not_shown(verdict: Verdict, found: CostFinding) -> Iterator[str]:
    """Of a candidate and the base, whose load is not shown to keep the limits."""
    yield from (note.candidate for note in found.notes if isinstance(note, LimitsNotShown))
    for refusal in verdict.not_recommended:
        if (refusal.workload, refusal.mode, refusal.code) == (found.workload, found.mode, "limits_not_shown"):
            yield from (name for name in refusal.candidates if name == found.candidate)


def _arrivals(verdict: Verdict) -> Iterator[_Open]:
    able = _able(verdict) | {verdict.base}
    for found in verdict.arrivals:
        is_open = _untold(found.latency) if found.limits is None else found.limits == "open"
        if found.candidate in able and found.valid and is_open:
            yield _Open(found.workload, found.load_level, found.candidate, _load_of(found))


def _load_of(found: ArrivalsFinding) -> Loads:
    rates = () if found.rate is None else (found.rate,)
    return Loads(rates=rates, ramp=found.kind == "ramp", trace=found.kind == "trace")


def _capacities(verdict: Verdict) -> Iterator[_Open]:
    able = _able(verdict) | {verdict.base}
    for found in verdict.capacity:
        if found.candidate in able and found.valid and _capacity_open(verdict, found):
            yield _Open(found.workload, "capacity", found.candidate, Loads(capacity=True))


def _capacity_open(verdict: Verdict, found: CapacityFinding) -> bool:
    if found.reaches is not None:
        return found.reaches == "open"
    compared = found.candidate != verdict.base and any(
        (other.candidate, other.workload) == (verdict.base, found.workload) for other in verdict.capacity
    )
    return compared and (found.over_base is None or _untold(found.over_base))


def _able(verdict: Verdict) -> frozenset[str]:
    """The candidates that may be deployed."""
    return frozenset(one.candidate for one in verdict.formats if one.state in ("non-inferior", "inconclusive"))


def _untold(ratio: Timed | None) -> bool:
    """Whether a ratio to the base is not told from 1."""
    told = isinstance(ratio, Estimate) and not ratio.low <= 1 <= ratio.high
    return ratio is not None and not told
