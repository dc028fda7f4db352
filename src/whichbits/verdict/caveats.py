"""The caveats: what the reader must know before trusting the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from whichbits.verdict.accuracy import Suite, near_chance
from whichbits.verdict.caveat_codes import (
    Caveat,
    EmulatedAccuracy,
    EmulationDiffers,
    FamilyWise,
    IdenticalScores,
    ImplausibleLoss,
    ServerOfOtherArithmetic,
    ServerOfOtherWeights,
    TaskExcluded,
    TaskInsensitive,
    WeightsNotCompared,
    WithinNoise,
)
from whichbits.verdict.findings import Findings
from whichbits.verdict.non_inferiority import rejected_after_holm
from whichbits.verdict.verdict import Decision, EmulationError, SuiteRecovery


def caveats(
    findings: Findings,
    decisions: Sequence[Decision],
    deciding_suites: Mapping[str, Suite],
    emulation: Sequence[EmulationError],
    implausible: Sequence[ImplausibleLoss],
    p_values: Mapping[str, float],
    *,
    level: float,
) -> Iterator[Caveat]:
    """What the reader must know before trusting the answer; `p_values` as for `rejected_after_holm`."""
    yield from _weak_tasks(findings)
    yield from _served_weights(findings)
    yield from implausible
    for name, entry in deciding_suites.items():
        if entry.identical:
            yield IdenticalScores(candidate=name, items=entry.finding.items)
        yield from _noise_floor(name, entry.finding)
    non_inferior = [decision.candidate for decision in decisions if decision.state == "non-inferior"]
    fallen = rejected_after_holm(p_values, non_inferior, level=level)
    if fallen:
        yield FamilyWise(candidates=fallen, family=len(deciding_suites), level=level)
    yield from _emulation(decisions, emulation)


def _noise_floor(name: str, finding: SuiteRecovery) -> Iterator[WithinNoise]:
    """Where a candidate changes as few items as the base does by itself, on the tasks on which the base was run twice."""
    floor, flips, tasks = finding.noise_floor_flips, finding.flips_on_noise_floor_tasks, finding.noise_floor_tasks
    if floor is not None and flips is not None and flips <= floor:
        whole = tasks == finding.tasks
        yield WithinNoise(candidate=name, flips=flips, noise_floor_flips=floor, tasks=tasks, whole_suite=whole)


def _served_weights(findings: Findings) -> Iterator[Caveat]:
    """Candidates whose servers do not serve their weights, or could not be asked."""
    for served in findings.served_weights:
        if served.other and served.distance is not None and served.limit is not None:
            yield ServerOfOtherWeights(candidate=served.candidate, distance=served.distance, limit=served.limit)
        elif (differs := served.arithmetic) and served.from_float32 is not None and served.rounding is not None:
            yield ServerOfOtherArithmetic(
                candidate=served.candidate, differs=differs, from_float32=served.from_float32, rounding=served.rounding
            )
        elif served.reason is not None:
            yield WeightsNotCompared(candidate=served.candidate, reason=served.reason)


def _weak_tasks(findings: Findings) -> Iterator[Caveat]:
    """Tasks that are left out of the suite, and those in it that say little, each once, by name."""
    found: dict[tuple[str, bool, str], Caveat] = {}
    for scored in findings.tasks:
        at_chance = near_chance([scored])
        if at_chance is not None:
            found[scored.task, True, repr(at_chance)] = TaskExcluded(task=scored.task, why=at_chance)
        elif scored.uninformative is not None:
            reason = scored.uninformative
            found[scored.task, False, reason] = TaskInsensitive(task=scored.task, reason=reason)
    yield from (found[key] for key in sorted(found, key=lambda key: (key[0], not key[1], key[2])))


def _emulation(decisions: Sequence[Decision], errors: Sequence[EmulationError]) -> Iterator[Caveat]:
    emulated = [decision.candidate for decision in decisions if decision.suite and decision.suite.provenance == "emulated"]
    if not emulated:
        return
    yield EmulatedAccuracy(candidates=tuple(emulated))
    if errors:
        worst = max(errors, key=lambda error: abs(error.difference.value))
        yield EmulationDiffers(candidate=worst.candidate, task=worst.task, difference=worst.difference)
