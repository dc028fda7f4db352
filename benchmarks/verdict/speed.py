"""How often the verdict's intervals of speed hold the truth, and how often it says "faster" where nothing is.

    python benchmarks/verdict/speed.py [--runs 20000] [--studies 300] [--seed 0] [--write docs/verdict.md]

Synthetic rounds with known truth go through the functions that the verdict itself uses: `whichbits.verdict.round_statistics`
for single ratios (vectorised), `comparison.compare` for rounds that are missing or of other sessions, and `collect`'s findings
through `serving_options` and `recommendations` for whole studies. Prints a table in Markdown; `--write` puts it between the
markers of a page. Takes about six minutes of one core; `--part N` makes a part alone.
`draws_of_speed.py` says what the rounds are drawn from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from draws_of_speed import LADDER, OWN, Array, Condition, Draw, in_rounds, in_sessions, study, with_missing

from whichbits.verdict.comparison import compare
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.reasons import Bounded
from whichbits.verdict.recommend import recommendations
from whichbits.verdict.round_statistics import best_ratio, best_value, half_width
from whichbits.verdict.serving_options import serving_options
from whichbits.verdict.speed import loads
from whichbits.verdict.verdict import Decision, SuiteRecovery

SPREADS = (0.01, 0.03, 0.06)
ROUNDS = (2, 3, 5, 10)
LEVELS = (1, 2, 3, 4, 5)
BEGIN, END = "<!-- made by benchmarks/verdict/speed.py -->", "<!-- end -->"


@dataclass(frozen=True)
class Rate:
    """Shares of `runs` runs, each in %, of which the interval held the truth, lay above it, and lay below it."""

    runs: int
    covered: float
    above: float
    below: float


@dataclass(frozen=True)
class Row:
    """One line of the table: the worst of some conditions."""

    what: str
    conditions: int
    rates: tuple[Rate, ...]

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        low, high = min(r.covered for r in self.rates), max(r.covered for r in self.rates)
        runs = min(r.runs for r in self.rates)
        error = 100 * np.sqrt(0.025 * 0.975 / runs)
        return (
            self.what, str(self.conditions), f"{runs:,}", f"{low:.1f} to {high:.1f}",
            f"{max(r.above for r in self.rates):.1f}", f"{max(r.below for r in self.rates):.1f}", f"± {2 * error:.1f}",
        )  # fmt: skip


def rate_of(low: Array, high: Array, truth: Array | float) -> Rate:
    """Shares of intervals by where they lie."""
    above, below = np.mean(low > truth), np.mean(high < truth)
    return Rate(len(low), float(100 * (1 - above - below)), float(100 * above), float(100 * below))


def ratio_rate(condition: Condition, runs: int, rng: np.random.Generator) -> Rate:
    """The ratio of the best throughputs of two sides."""
    below, above = condition.sides(runs, rng)
    found = best_ratio(above, below, level=0.95)
    best = condition.levels.max(axis=1)
    return rate_of(found.low, found.high, float(best[1] - best[0]))


def value_rate(condition: Condition, runs: int, rng: np.random.Generator) -> Rate:
    """The best throughput itself, beside another candidate."""
    first, second = condition.sides(runs, rng)
    _, low, high, _ = best_value(first, first.score() + second.score(), level=0.95)
    return rate_of(low, high, float(condition.levels[0].max()))


def ladders(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Ratios of 1.00 at every load, over ladders of 1 to 5 loads."""
    for spread in SPREADS:
        for rounds in ROUNDS:
            conditions = [
                Condition(np.tile(LADDER[-levels:], (2, 1)), rounds, (spread,), share)
                for levels in LEVELS
                for share in (1.0, 0.3)
            ]
            what = f"ratio 1.00, sd {spread:.0%}, {rounds} rounds, 1 to 5 loads that saturate"
            yield Row(what, len(conditions), tuple(ratio_rate(c, runs, rng) for c in conditions))


def other_ratios(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Ratios under shapes, spreads and distributions that make it harder."""
    flat = np.zeros((2, 5))
    one_peak = np.array([[-1.0, -1.0, -1.0, -1.0, 0.0], [0.0] * 5])
    shallow = np.array([[-1.0, -0.05, -0.05, -0.05, 0.0], [0.0] * 5])
    apart = np.array([np.log([0.6, 0.9, 1.0, 0.95, 0.85]), LADDER])
    cross = np.array([[-0.2, -0.2, -0.2, -0.2, 0.0], [0.0, 0.0, 0.0, 0.0, -0.3]])
    saturating = np.tile(LADDER, (2, 1))
    shapes: dict[str, tuple[Array, tuple[float, ...], float, bool]] = {
        "5 loads all alike": (flat, (0.03,), OWN, False),
        "candidate alike at 5 loads, base best at one (−63 %)": (one_peak, (0.03,), OWN, False),
        "candidate alike at 5 loads, base best at one (−5 %)": (shallow, (0.03,), OWN, False),
        "candidate alike at 4 loads, base best at the fifth, each 20 to 26 % down at the other's": (cross, (0.03,), OWN, False),
        "best loads that differ, ratio 1.00 of the best": (apart, (0.03,), OWN, False),
        "base 1 %, candidate 6 % sd": (saturating, (0.01, 0.06), OWN, False),
        "rounds with heavy tails (Student, 4 degrees)": (saturating, (0.03,), OWN, True),
        "requests dominate: sd 0.1 %, own error 2 %, one load": (np.zeros((2, 1)), (0.001,), 0.02, False),
    }
    for name, (levels, sd, own, heavy) in shapes.items():
        conditions = [Condition(levels, rounds, sd, share, own, heavy) for rounds in ROUNDS for share in (1.0, 0.3)]
        yield Row(f"{name}, 2 to 10 rounds", len(conditions), tuple(ratio_rate(c, runs, rng) for c in conditions))
    conditions = [Condition(saturating, rounds, (sd,), share) for rounds in ROUNDS for sd in SPREADS for share in (1.0, 0.3)]
    yield Row(
        "queries per second itself, 5 loads, sd 1 to 6 %, 2 to 10 rounds", len(conditions),
        tuple(value_rate(replace(c, levels=c.levels), runs, rng) for c in conditions),
    )  # fmt: skip


REQUESTS = {"latency p50": (50.0, 160), "latency p95": (95.0, 160), "latency p99": (99.0, 640), "mean TTFT": (None, 160)}


def common_times(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Medians of latency and means of TTFT."""
    yield from times(("latency p50", "mean TTFT"), runs, rng)


def rare_times(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """High percentiles of latency."""
    yield from times(("latency p95", "latency p99"), runs, rng)


def times(names: Sequence[str], runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Percentiles and means of times over rounds: the value itself, and its ratio to the base's."""
    from scipy.special import ndtri

    for name in names:
        percentile, requests = REQUESTS[name]
        sigma = 0.5 if name.endswith("TTFT") else 0.05
        truth = sigma**2 / 2 if percentile is None else sigma * float(ndtri(percentile / 100))
        for kind in ("value", "ratio"):
            rates = []
            for rounds in ROUNDS:
                for spread in SPREADS:
                    count = max(runs // 10, 1000) if requests > 200 else max(runs // 2, 1000)
                    logs = [in_rounds(percentile, requests, sigma, spread, rounds, count, rng) for _ in range(2)]
                    sample = logs[0] if kind == "value" else logs[0] - logs[1]
                    half = half_width(sample, np.zeros((count, 1)), np.ones((count, 1)), 0.95)
                    mean = sample.mean(axis=-1)
                    rates.append(rate_of(mean - half, mean + half, truth if kind == "value" else 0.0))
            what = f"{name}, {kind}, {requests} requests a round, sd 1 to 6 %, 2 to 10 rounds"
            yield Row(what, len(rates), tuple(rates))


def compared(draw: Draw, runs: int, rng: np.random.Generator) -> Rate:
    """Comparisons of `comparison.compare`, one at a time; those that it refuses to give an interval are left out."""
    low, high, truths = [], [], []
    for _ in range(runs):
        one, other, base, truth = draw(rng)
        found = compare(one, other, base, level=0.95)
        if found is not None and isinstance(found.ratio, Estimate):
            low.append(np.log(found.ratio.low))
            high.append(np.log(found.ratio.high))
            truths.append(truth)
    return rate_of(np.array(low), np.array(high), np.array(truths))


def missing_rounds(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Rounds and loads of which some are invalid."""
    rates = tuple(compared(with_missing(rounds, sd), max(runs // 8, 250), rng) for rounds in ROUNDS[1:] for sd in SPREADS)
    yield Row("ratio 1.00, 15 % of measurements invalid, 4 loads, sd 1 to 6 %, 3 to 10 rounds", len(rates), rates)


def other_sessions(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Candidates of different sessions."""
    sizes = ((2, 2), (2, 5), (3, 3), (5, 5), (3, 10))
    rates = tuple(compared(in_sessions(*size, sd), max(runs // 8, 250), rng) for size in sizes for sd in SPREADS)
    yield Row("ratio 1.10 across two sessions through the base, sd 1 to 6 %, 2 to 10 rounds each", len(rates), rates)


CANDIDATES = ("a", "b", "c", "d", "e")


def studies(count: int, spread: float, rounds: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Whole studies of five non-inferior candidates whose speed over the base's is 0.8 to 1.6, a fifth of them exactly 1.

    Shares, in %, of studies in which a candidate is deployed that is truly slower than the base, or truly no faster; in
    which one is that is more than 3 % slower than another; and in which the base is kept though one is 10 % faster.
    """
    slower = no_faster = behind = kept = 0
    for _ in range(count):
        truth = dict(zip(CANDIDATES, np.where(rng.random(5) < 0.2, 1.0, rng.uniform(0.8, 1.6, 5)), strict=True))
        decisions = {name: _non_inferior(name, 99.5 + rng.normal(0, 0.3)) for name in CANDIDATES}
        findings = study(truth, spread, rounds, rng)
        options = serving_options(findings, loads(findings), level=0.95)
        answers, _ = recommendations(findings, options, decisions, (), margin=0.01, level=0.95)
        (answer,) = answers
        best = max(truth.values())
        if answer.candidate == "base":
            kept += best >= 1.1
        else:
            slower += truth[answer.candidate] < 1
            no_faster += truth[answer.candidate] <= 1
            behind += truth[answer.candidate] < best / 1.03
    return 100 * slower / count, 100 * no_faster / count, 100 * behind / count, 100 * kept / count


def _non_inferior(name: str, recovery: float) -> Decision:
    suite = SuiteRecovery(
        candidate=name, engine="vllm", provenance="measured", items=1000, tasks=("t",), smallest_difference=0.5, flips=0.01,
        noise_floor_flips=None, steps=(), recovery=Estimate(value=recovery, low=recovery - 0.4, high=recovery + 0.4),
    )  # fmt: skip
    return Decision(
        candidate=name, format=name, state="non-inferior", reason=Bounded(code="non_inferior", bound=99), suite=suite
    )


PARTS = (ladders, other_ratios, common_times, rare_times, missing_rounds, other_sessions)
STUDIES = 4
"""Of the random numbers of whole studies."""


def single(runs: int, seed: int, parts: Sequence[int]) -> Iterator[str]:
    """The table of single figures; each part has random numbers of its own, so that it can be made alone."""
    yield "| simulated | conditions | runs of each | 95 % interval holds the truth | lies above | lies below | |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for part in parts:
        rng = np.random.default_rng([seed, part])
        yield from (f"| {' | '.join(row.cells())} |" for row in PARTS[part](runs, rng))


def whole(count: int, seed: int, spreads: Sequence[float]) -> Iterator[str]:
    """The table of whole studies."""
    yield (
        "| between-round sd | rounds | deployed though slower than the base | though no faster | though another is more than "
        "3 % faster | base kept though one is 10 % faster |"
    )
    yield "|--:|--:|--:|--:|--:|--:|"
    for spread in spreads:
        for rounds in ROUNDS:
            shares = studies(count, spread, rounds, np.random.default_rng([seed, STUDIES, round(1000 * spread), rounds]))
            yield f"| {spread:.0%} | {rounds} | {' | '.join(f'{share:.1f} %' for share in shares)} |"


def page(runs: int, count: int, seed: int) -> str:
    """Both tables as Markdown."""
    return "\n".join(
        (
            f"Made by `python benchmarks/verdict/speed.py --runs {runs} --studies {count} --seed {seed}`. Each line is the "
            "worst of its conditions, in %; the last column is twice the Monte-Carlo error of a share of 2.5 %.",
            "",
            *single(runs, seed, range(len(PARTS))),
            "",
            f"Whole studies, {count:,} each: five non-inferior candidates whose true speeds are 0.8 to 1.6 of the base's, a "
            "fifth of them exactly 1.",
            "",
            *whole(count, seed, SPREADS),
        )
    )


def main() -> None:
    """Print the tables, and write them into a page where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", type=int, choices=range(len(PARTS) + len(SPREADS)), help="only this part of the tables")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    if asked.part is not None:
        alone = asked.part - len(PARTS)
        rows = single(asked.runs, asked.seed, [asked.part]) if alone < 0 else whole(asked.studies, asked.seed, [SPREADS[alone]])
        print("\n".join(rows))
        return
    made = page(asked.runs, asked.studies, asked.seed)
    print(made)
    if asked.write:
        text = asked.write.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        asked.write.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")


if __name__ == "__main__":
    main()
