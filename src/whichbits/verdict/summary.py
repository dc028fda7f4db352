"""What the reader sees first: the sentence, its reasons, and the caveats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from whichbits.verdict.accuracy import Suite, refusal
from whichbits.verdict.findings import Findings
from whichbits.verdict.model import EmulationError, FormatVerdict, ImplausibleLoss, Recommendation
from whichbits.verdict.ruling import bound_of, rejected_after_holm
from whichbits.verdict.speed import SYNCHRONOUS, loads, meets
from whichbits.verdict.wording import listing, percent, plural, times


def sentence(base: str, rulings: Sequence[FormatVerdict], recommended: Sequence[Recommendation], margin: float) -> str:
    """The answer in one or two sentences."""
    by_name = {ruling.candidate: ruling for ruling in rulings}
    chosen = list(dict.fromkeys(entry.candidate for entry in recommended))
    if not recommended:
        return _without_speed(base, rulings, margin)
    if chosen == [base]:
        return f"Stay with {base}: {recommended[0].reason}."
    parts = []
    for name in chosen:
        own = [entry for entry in recommended if entry.candidate == name]
        where = "" if len(chosen) == 1 else f" for {listing([_use(entry) for entry in own])}"
        parts.append(f"{name}{where}{_gain(base, by_name[name], own)}")
    return f"Deploy {'; '.join(parts)}."


def _use(entry: Recommendation) -> str:
    mode = "one request at a time" if entry.mode == SYNCHRONOUS else "many requests at once"
    return f"{entry.workload} with {mode}"


def _gain(base: str, ruling: FormatVerdict, own: Sequence[Recommendation]) -> str:
    if ruling.state == "base" or ruling.suite is None:
        return ""
    kept = f": it keeps {percent(ruling.suite.recovery)} of {base}'s score above chance"
    gains = [
        f"{times(entry.advantage)} the queries per dollar" + (f" for {_use(entry)}" if len(own) > 1 else "")
        for entry in own
        if entry.advantage is not None
    ]
    return f"{kept} and gives {listing(gains)}" if gains else kept


def _without_speed(base: str, rulings: Sequence[FormatVerdict], margin: float) -> str:
    admissible = [ruling for ruling in rulings if ruling.state == "admissible"]
    if not any(ruling.suite for ruling in rulings):
        return f"No verdict: no format could be compared with {base} on any task."
    if not admissible:
        return f"Stay with {base}: no format is shown to keep {bound_of(margin):g} % of its score above chance."
    names = [f"{ruling.candidate}{_emulated(ruling)}" for ruling in admissible]
    return (
        f"{listing(names)} {'is' if len(names) == 1 else 'are'} shown to keep {bound_of(margin):g} % of {base}'s score above "
        "chance, but no valid speed (within its workload's limits, where it has any) was measured, so nothing says what it "
        "saves."
    )


def _emulated(ruling: FormatVerdict) -> str:
    return " (in emulation)" if ruling.suite and ruling.suite.provenance == "emulated" else ""


def reasons(rulings: Sequence[FormatVerdict], recommended: Sequence[Recommendation]) -> tuple[str, ...]:
    """Why: each recommendation, what would overturn it, and each format's ruling."""
    lines = [f"{_use(entry)}: {entry.reason}." for entry in recommended]
    lines += list(dict.fromkeys(f"{entry.if_resolved}." for entry in recommended if entry.if_resolved))
    for ruling in rulings:
        if ruling.state != "base":
            remedy = f"; to resolve it: {ruling.would_resolve}" if ruling.would_resolve else ""
            lines.append(f"{ruling.candidate} is {ruling.state}: {ruling.reason}{remedy}.")
    return tuple(lines)


def caveats(
    findings: Findings,
    rulings: Sequence[FormatVerdict],
    ruling_suites: Mapping[str, Suite],
    emulation: Sequence[EmulationError],
    implausible: Sequence[ImplausibleLoss],
    *,
    margin: float,
    level: float,
) -> Iterator[str]:
    """What the reader must know before trusting the answer."""
    yield from _weak_tasks(findings)
    for loss in implausible:
        yield (
            f"{loss.candidate} keeps {percent(loss.recovery, loss.floor)} of the base's score above chance, where "
            f"{loss.weight_bits}-bit weights keep more than {loss.floor:g} %: its checkpoint, tokenizer or chat template is "
            "probably damaged, or another model's."
        )
    for name, entry in ruling_suites.items():
        if entry.identical:
            yield (
                f"Every score of {name} equals the base's: exactly 100.0 % on {plural(entry.finding.items, 'item')}. Make sure "
                "that its own checkpoint was scored, and not cached answers or the base."
            )
        if entry.finding.noise_floor_flips is not None and entry.finding.flips <= entry.finding.noise_floor_flips:
            yield f"{name} changes no more items than the base itself does from one run to the next."
    admissible = [ruling.candidate for ruling in rulings if ruling.state == "admissible"]
    fallen = rejected_after_holm(ruling_suites, admissible, margin=margin, level=level)
    if fallen:
        yield (
            f"Each ruling holds at its own level of {level:.0%}; for all {len(ruling_suites)} formats at once (Holm), "
            f"{listing(fallen)} would not be resolved."
        )
    yield from _emulation(rulings, emulation)
    yield from _speed(findings)
    yield from _limits(findings)


def _weak_tasks(findings: Findings) -> Iterator[str]:
    """Tasks that are left out of the suite, and those in it that say little."""
    lines = set()
    for scored in findings.tasks:
        reason = refusal(scored)
        if reason is not None:
            lines.add(f"{scored.task} is left out of the suite: {reason}.")
        elif scored.uninformative is not None:
            lines.add(f"{scored.task} says little: {scored.uninformative}.")
    yield from sorted(lines)


def _emulation(rulings: Sequence[FormatVerdict], errors: Sequence[EmulationError]) -> Iterator[str]:
    emulated = [ruling.candidate for ruling in rulings if ruling.suite and ruling.suite.provenance == "emulated"]
    if not emulated:
        return
    yield (
        f"{listing(emulated)}: the accuracy comes from emulation of the arithmetic; it was not served, so it has no speed "
        "and is not recommended."
    )
    if errors:
        worst = max(errors, key=lambda error: abs(error.difference.value))
        value, low, high = (100 * end for end in (worst.difference.value, worst.difference.low, worst.difference.high))
        yield (
            f"Where a checkpoint was both served and emulated, the scores differ by at most {value:+.1f} points "
            f"({low:+.1f} to {high:+.1f}; {worst.candidate}, {worst.task})."
        )


def _speed(findings: Findings) -> Iterator[str]:
    unknown = [name for name, kernel in findings.kernels.items() if kernel.status == "unknown"]
    if unknown and findings.rounds:
        yield f"{listing(unknown)}: served at an address given, so which kernels ran is not known."
    invalid: dict[str, None] = {}
    for r in findings.rounds:
        if not r.valid:
            why = "; ".join(r.reasons) or "no reason given"
            invalid[f"Invalid and left out: {r.candidate}, {r.workload}, {r.rung}, round {r.repeat}: {why}."] = None
    yield from invalid
    for workload, deployment in dict.fromkeys((r.workload, r.deployment) for r in findings.rounds):
        here = [r for r in findings.rounds if (r.workload, r.deployment) == (workload, deployment)]
        rounds = {(r.sitting, r.repeat) for r in here}
        if len(rounds) < 3:
            yield (
                f"{workload} was measured in {plural(len(rounds), 'round')}: too few to know the spread between rounds, "
                "so its intervals are wide."
            )
        yield from _still_rising(workload, findings)


def _limits(findings: Findings) -> Iterator[str]:
    """Workloads whose limits nothing keeps, so that nothing is recommended for them."""
    measured = [load for load in loads(findings) if any(r.valid for r in load.own)]
    for workload, deployment in dict.fromkeys((load.workload, load.deployment) for load in measured):
        slo = findings.workloads.get(workload, {}).get("slo") or {}
        here = [load for load in measured if (load.workload, load.deployment) == (workload, deployment)]
        if slo and not any(meets(load, slo) for load in here):
            stated = [f"{name} p{limit['percentile']:g} ≤ {limit['seconds']:g} s" for name, limit in slo.items() if limit]
            yield f"{workload} on {deployment}: no load of any format keeps its limits ({', '.join(stated)})."


def _still_rising(workload: str, findings: Findings) -> Iterator[str]:
    """Say where the highest throughput was at the end of the ladder."""
    ladders: dict[str, list[tuple[float, int]]] = {}
    for r in findings.rounds:
        if r.workload == workload and r.valid and r.concurrency is not None and r.concurrency > 1:
            rate = float(r.metrics["requests_per_second"] or 0.0)
            ladders.setdefault(r.candidate, []).append((rate, r.concurrency))
    tops = {name: max(concurrency for _, concurrency in ladder) for name, ladder in ladders.items()}
    ends = [name for name, ladder in ladders.items() if max(ladder)[1] == tops[name]]
    if ends:
        yield f"{workload}: {listing(ends)} did best at the largest load measured, so a larger one may give more."
