"""The caveats: what the reader must know before trusting the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from whichbits.verdict.accuracy import Suite, refusal
from whichbits.verdict.decision import rejected_after_holm
from whichbits.verdict.findings import Findings
from whichbits.verdict.model import Decision, EmulationError, ImplausibleLoss, SuiteRecovery
from whichbits.verdict.serving_options import ServingOptions
from whichbits.verdict.speed_caveats import speed_caveats
from whichbits.verdict.words import listing, percent, plural


def caveats(
    findings: Findings,
    decisions: Sequence[Decision],
    deciding_suites: Mapping[str, Suite],
    emulation: Sequence[EmulationError],
    implausible: Sequence[ImplausibleLoss],
    all_options: Sequence[ServingOptions],
    *,
    margin: float,
    level: float,
) -> Iterator[str]:
    """What the reader must know before trusting the answer."""
    yield from _weak_tasks(findings)
    yield from _served_weights(findings)
    for loss in implausible:
        yield (
            f"{loss.candidate} keeps {percent(loss.recovery, loss.floor)} of the base's score above chance, where "
            f"{loss.weight_bits}-bit weights keep more than {loss.floor:g} %: its checkpoint, tokenizer or chat template is "
            "probably damaged, or another model's."
        )
    for name, entry in deciding_suites.items():
        if entry.identical:
            yield (
                f"Every score of {name} equals the base's: exactly 100.0 % on {plural(entry.finding.items, 'item')}. Make sure "
                "that its own checkpoint was scored, and not cached answers or the base."
            )
        yield from _noise_floor(name, entry.finding)
    non_inferior = [decision.candidate for decision in decisions if decision.state == "non-inferior"]
    fallen = rejected_after_holm(deciding_suites, non_inferior, margin=margin, level=level)
    if fallen:
        yield (
            f"Each decision holds at its own level of {level:.0%}; for all {len(deciding_suites)} formats at once (Holm), "
            f"{listing(fallen)} would be inconclusive."
        )
    yield from _emulation(decisions, emulation)
    yield from speed_caveats(findings, all_options)


def _noise_floor(name: str, finding: SuiteRecovery) -> Iterator[str]:
    """Where a candidate changes as few items as the base does by itself, on the tasks on which the base was run twice."""
    floor, flips, tasks = finding.noise_floor_flips, finding.flips_on_noise_floor_tasks, finding.noise_floor_tasks
    if floor is None or flips is None or flips > floor:
        return
    where = "" if tasks == finding.tasks else f" on {listing(tasks)}, where the base was run twice"
    yield f"{name} changes no more items than the base itself does from one run to the next{where}."


def _served_weights(findings: Findings) -> Iterator[str]:
    """Candidates whose servers do not serve their weights, or could not be asked."""
    for served in findings.served_weights:
        if served.other:
            yield (
                f"The server of {served.candidate} does not serve its weights: their log-probabilities differ by "
                f"{served.distance:.3f} nats a token, where rounding explains {served.limit:.3f}."
            )
        elif served.reason is not None:
            yield f"Whether the server of {served.candidate} serves its weights is not known: {served.reason}."


def _weak_tasks(findings: Findings) -> Iterator[str]:
    """Tasks that are left out of the suite, and those in it that say little."""
    lines = set()
    for scored in findings.tasks:
        reason = refusal(scored)
        if reason is not None:
            lines.add(f"{scored.task} is left out of the suite: {reason.text}.")
        elif scored.uninformative is not None:
            lines.add(f"{scored.task} says little: {scored.uninformative}.")
    yield from sorted(lines)


def _emulation(decisions: Sequence[Decision], errors: Sequence[EmulationError]) -> Iterator[str]:
    emulated = [decision.candidate for decision in decisions if decision.suite and decision.suite.provenance == "emulated"]
    if not emulated:
        return
    yield (
        f"{listing(emulated)}: the accuracy comes from emulation of the arithmetic; it was not scored as it is "
        "served, and is not recommended."
    )
    if errors:
        worst = max(errors, key=lambda error: abs(error.difference.value))
        value, low, high = (100 * end for end in (worst.difference.value, worst.difference.low, worst.difference.high))
        yield (
            f"Where a checkpoint was both served and emulated, the scores differ by at most {value:+.1f} points "
            f"({low:+.1f} to {high:+.1f}; {worst.candidate}, {worst.task})."
        )
