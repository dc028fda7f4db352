"""What the reader must know before trusting the answer, in words."""

from __future__ import annotations

from whichbits.verdict.caveat_codes import (
    BeyondClient,
    Caveat,
    EmulatedAccuracy,
    EmulationDiffers,
    FamilyWise,
    IdenticalScores,
    ImplausibleLoss,
    InvalidRound,
    KernelsUnknown,
    LimitsNotKept,
    MeasuredOtherwise,
    OneStart,
    OutlyingRound,
    PromptsShared,
    Remark,
    Rounds,
    ServerOfOtherArithmetic,
    ServerOfOtherWeights,
    SeveralLooks,
    SpeedCaveat,
    StillRising,
    StoppedEarly,
    TaskExcluded,
    TaskInsensitive,
    WeightsNotCompared,
    WithinNoise,
)
from whichbits.verdict.reasons import FewRounds, LimitsNotShown, LoadsLeftOut, RoundsLeftOut
from whichbits.verdict.verdict import Verdict
from whichbits.verdict.words.decisions import excluded
from whichbits.verdict.words.numbers import listing, percent, plural


def caveats(verdict: Verdict) -> tuple[str, ...]:
    """All caveats of a verdict."""
    return tuple(caveat(entry, verdict.base) for entry in verdict.caveats)


def caveat(entry: Caveat, base: str) -> str:
    """One caveat."""
    if isinstance(entry, SpeedCaveat):
        return _of_speed(entry, base)
    match entry:
        case Remark():
            return entry.text
        case TaskExcluded() | TaskInsensitive() | EmulatedAccuracy() | EmulationDiffers():
            return _of_tasks(entry)
        case StoppedEarly():
            return _stopped_early(entry)
        case _:
            return _of_candidate(entry)


def _of_tasks(entry: TaskExcluded | TaskInsensitive | EmulatedAccuracy | EmulationDiffers) -> str:
    match entry:
        case TaskExcluded():
            return f"{entry.task} is left out of the suite: {excluded(entry.why)}."
        case TaskInsensitive():
            return f"{entry.task} says little: {entry.reason}."
        case EmulatedAccuracy():
            return (
                f"{listing(entry.candidates)}: the accuracy comes from emulation of the arithmetic; it was not scored as it is "
                "served, and is not recommended."
            )
        case EmulationDiffers():
            value, low, high = (100 * end for end in (entry.difference.value, entry.difference.low, entry.difference.high))
            return (
                f"Where a checkpoint was both served and emulated, the scores differ by at most {value:+.1f} points "
                f"({low:+.1f} to {high:+.1f}; {entry.candidate}, {entry.task})."
            )


def _of_candidate(
    entry: ServerOfOtherWeights
    | ServerOfOtherArithmetic
    | WeightsNotCompared
    | ImplausibleLoss
    | IdenticalScores
    | WithinNoise
    | FamilyWise,
) -> str:
    match entry:
        case ServerOfOtherWeights():
            return (
                f"The server of {entry.candidate} does not serve its weights: their log-probabilities differ by "
                f"{entry.distance:.3f} nats a token, where rounding explains {entry.limit:.3f}."
            )
        case ServerOfOtherArithmetic():
            found = (
                f"log-probabilities of {entry.candidate}'s server are {entry.from_float32:.3f} nats a token from float32's, "
                f"where the checkpoint's own type gives {entry.rounding:.3f}"
            )
            if entry.differs == "finer":
                return f"The {found}: it computes in FP16 or float32. Start all servers with the same --dtype."
            return f"The {found}: its weights may be rounded to 8 bits, or its kernels coarser."
        case WeightsNotCompared():
            return f"Whether the server of {entry.candidate} serves its weights is not known: {entry.reason}."
        case ImplausibleLoss():
            return (
                f"{entry.candidate} keeps {percent(entry.recovery, entry.floor)} of the base's score above chance, where "
                f"{entry.weight_bits}-bit weights keep more than {entry.floor:g} %: its checkpoint, tokenizer or chat template "
                "is probably damaged, or another model's."
            )
        case IdenticalScores():
            return (
                f"Every score of {entry.candidate} equals the base's: exactly 100.0 % on {plural(entry.items, 'item')}. Make "
                "sure that its own checkpoint was scored, and not cached answers or the base."
            )
        case WithinNoise():
            where = "" if entry.whole_suite else f" on {listing(entry.tasks)}, where the base was run twice"
            return f"{entry.candidate} changes no more items than the base itself does from one run to the next{where}."
        case FamilyWise():
            return (
                f"Each decision holds at its own level of {entry.level:.0%}; for all {entry.family} formats at once (Holm), "
                f"{listing(entry.candidates)} would be inconclusive."
            )


def _stopped_early(entry: StoppedEarly) -> str:
    saved = 1 - entry.items / entry.all_items if entry.all_items else 0.0
    return (
        f"Evaluation stopped where nothing was left to decide: {entry.items:,} of {entry.all_items:,} items were asked of the "
        f"base and {plural(entry.candidates, 'candidate')}, {saved:.0%} saved. There were up to {entry.looks} looks "
        f"({entry.method}); intervals of accuracy are wider, so that those of all looks hold together in {entry.level:.0%}. "
        f"Each decision by itself errs in {(1 - entry.level) / 2:.1%} on either side, however many candidates there are."
    )


def _of_speed(entry: SpeedCaveat, base: str) -> str:
    match entry:
        case KernelsUnknown():
            return f"{listing(entry.candidates)}: served by others than whichbits, so which kernels ran is not known."
        case InvalidRound():
            why = "; ".join(entry.reasons) or "no reason given"
            where = f"{entry.candidate}, {entry.workload}, {entry.load}, round {entry.round}"
            return f"Invalid and left out: {where}: {why}."
        case OutlyingRound():
            where = f"{entry.candidate}, {entry.workload}, {entry.load}, round {entry.round}"
            return f"Far from the other rounds, and counted: {where}, {entry.ratio:.2f} times their requests per second."
        case Rounds():
            return f"{entry.workload}, {entry.mode}: {_rounds_note(entry, base)}."
        case PromptsShared():
            hits = [f"{100 * share:.0f} % of {name}'s" for name, share in entry.cached.items()]
            said = f"from the prefix cache came {listing(hits)}" if hits else "the servers do not say how many their cache held"
            share = f"{100 * entry.shared:.0f} % of the prompt tokens"
            return f"{entry.workload}: {share} are those of a prompt before, on purpose; {said}."
        case BeyondClient():
            return (
                f"{entry.candidate}, {entry.workload}, {entry.load}: {entry.share:.1f} times as many tokens came as the load "
                "client can read, so it may be the client that was measured."
            )
        case MeasuredOtherwise():
            servers = "the server" if len(entry.candidates) == 1 else "each server"
            return f"{listing(entry.candidates)}: {servers} {'; it '.join(entry.instead)}."
        case StillRising():
            names = listing(entry.candidates)
            return f"{entry.workload}: {names} did best at the largest load measured, so a larger one may give more."
        case LimitsNotKept():
            stated = ", ".join(f"{limit.metric} p{limit.percentile:g} ≤ {limit.seconds:g} s" for limit in entry.limits)
            return f"{entry.workload} on {entry.deployment}: no load of any format keeps its limits ({stated})."
        case OneStart():
            return (
                f"{listing(entry.workloads)}: all rounds are of one start of each server; by how much another start would "
                "differ is in no interval."
            )
        case SeveralLooks():
            return (
                f"Speeds are measured in {entry.rounds[0]} rounds, and in up to {entry.rounds[-1]} where a comparison is open "
                f"at one of {len(entry.rounds)} looks; each interval is wider, so that those of all looks hold together in "
                f"{entry.level:.0%}."
            )


def _rounds_note(entry: Rounds, base: str) -> str:
    note, what = entry.note, f"{entry.candidate} against {base}"
    match note:
        case RoundsLeftOut():
            count = f"{note.valid} {'is' if note.valid == 1 else 'are'} valid for both"
            return f"{what}: of {plural(note.measured, 'round')}, {count}"
        case FewRounds(code="one_round"):
            return f"{what}: one round has no interval, so nothing is claimed of it"
        case FewRounds():
            return f"{what}: with {note.rounds} rounds the interval is wide"
        case LimitsNotShown():
            return f"{note.candidate} at {note.load} is not shown to keep the limits, nor to miss one"
        case LoadsLeftOut(code="loads_not_shared"):
            return f"{what}: only one of them was measured at {listing(note.loads)}"
        case LoadsLeftOut():
            return f"{what}: {listing(note.loads)} left out, being valid in fewer rounds than {listing(note.compared)}"
        case _:
            spread = f"from start to start the ratio differs by {note.between:.1%}, from round to round by {note.within:.1%}"
            counts = "each start counts once" if note.counted == "starts" else "two are too few for the interval to hold that"
            return f"{what}: {note.rounds} rounds from {note.starts} starts of the servers; {spread}; {counts}"
