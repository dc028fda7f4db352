"""Speed sessions that go on until they are decided: what they cost beside sessions that measure all, and how often they err.

    python benchmarks/verdict/sessions.py [--studies 400] [--seed 0]

Three candidates beside the base at 1, 4, 8 and 16 requests in flight. Their true speeds over the base's are drawn from 1, 1.03,
1.08, 1.2 and 1.5, for one request and for many apart. Seconds of a load are about those of SmolLM2-135M-Instruct on two cores
(docs/serving.md). A study is measured in 3 rounds, and in up to 24 by what `whichbits.verdict.looks.open_speeds` says of the
findings, as `speed_budget` has it; each further round starts its servers anew. Beside it stands the same study, round by round,
with all candidates at all loads.

Columns: mean rounds at the end; time of measuring over that of measuring all in as many rounds, without and with 40 s for the
start of each server in each further round; half-widths of the intervals that were open last over those where all is measured;
intervals (of each candidate and mode, at its last look) that miss the truth; and those of speeds that equal the base's that do.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whichbits.schema.serve import Metrics
from whichbits.studies.steps.forecast import SERVER_START_S
from whichbits.verdict.estimates import Estimate, Mode
from whichbits.verdict.findings import Findings, Kernel, Round
from whichbits.verdict.looks import OpenSpeed, level_of_looks, open_speeds
from whichbits.verdict.reasons import Bounded
from whichbits.verdict.recommend import recommendations
from whichbits.verdict.serving_options import serving_options
from whichbits.verdict.speed import loads
from whichbits.verdict.verdict import CostFinding, Decision, SuiteRecovery, Verdict

Array = NDArray[np.float64]
NAMES = ("base", "a", "b", "c")
IN_FLIGHT = (1, 4, 8, 16)
RATES = (0.54, 1.62, 2.4, 2.95)
"""Requests per second of the base at these loads."""
LOOKS = (3, 6, 12, 24)
LEVEL = 0.95
RATIOS = (1.0, 1.03, 1.08, 1.2, 1.5)
CONDITIONS = ((0.01, 0.0), (0.03, 0.0), (0.06, 0.0), (0.03, 0.02), (0.03, 0.05))
"""Spread from round to round, and from start to start."""
WHERE = {load: "synchronous" if load == 1 else f"concurrency {load}" for load in IN_FLIGHT}


@dataclass(frozen=True)
class Measured:
    """Speeds of a study: logarithms (candidates, loads, rounds) of requests per second; and their truth (candidates, loads)."""

    logs: Array
    truth: Array

    def ratio(self, name: str, mode: Mode) -> float:
        """True ratio of a candidate to the base, each at its best load."""
        chosen = self.truth[:, :1] if mode == "synchronous" else self.truth[:, 1:]
        return float(np.exp(chosen[NAMES.index(name)].max() - chosen[0].max()))


def draw(spread: float, starts: float, rng: np.random.Generator) -> Measured:
    """A study of up to 24 rounds; all rounds of the first look are of one start of each server, every other of its own."""
    ratios = np.ones((len(NAMES), len(IN_FLIGHT)))
    ratios[1:, 0], ratios[1:, 1:] = rng.choice(RATIOS, 3), rng.choice(RATIOS, (3, 1))
    truth = np.log(RATES) + np.log(ratios)
    rounds = LOOKS[-1]
    of_round = rng.normal(0, np.sqrt(0.7) * spread, (len(NAMES), 1, rounds))
    of_load = rng.normal(0, np.sqrt(0.3) * spread, (len(NAMES), len(IN_FLIGHT), rounds))
    of_start = rng.normal(0, starts, (len(NAMES), 1, rounds))
    of_start[:, :, : LOOKS[0]] = of_start[:, :, :1]
    return Measured(truth[:, :, None] + rng.normal(0, 0.05, rounds) + of_round + of_load + of_start, truth)


Done = Mapping[tuple[str, int], Sequence[int]]
"""Loads by candidate and round."""


def found(measured: Measured, done: Done, level: float) -> Verdict:
    """What the verdict says of speeds that were measured at these loads; all candidates are non-inferior."""
    rounds: list[Round] = []
    for (name, repeat), at in done.items():
        session = "first" if repeat < LOOKS[0] else f"{repeat}"
        for load in at:
            for served in (name, "base"):
                rate = float(np.exp(measured.logs[NAMES.index(served), IN_FLIGHT.index(load), repeat]))
                times = dict.fromkeys(("latency_s", "ttft_s", "itl_s", "tpot_s"), np.full(2, load / rate))
                metrics = Metrics(requests_per_second=rate, output_tokens_per_second=rate)
                rounds.append(Round(served, name, "w", "d", WHERE[load], load, session, repeat, True, (), metrics, times, ()))
    kernels = {name: Kernel("native", "k", None) for name in NAMES}
    findings = Findings("base", {name: name for name in NAMES}, rounds=tuple(rounds), kernels=kernels)
    options = serving_options(findings, loads(findings), level=level)
    decisions = {name: _non_inferior(name) for name in NAMES[1:]}
    answers, _ = recommendations(findings, options, decisions, (), margin=0.01, level=level)
    costs = tuple(option.cost for place in options for option in place.options)
    return Verdict.model_construct(base="base", formats=tuple(decisions.values()), recommendations=answers, cost=costs)


def _non_inferior(name: str) -> Decision:
    suite = SuiteRecovery(
        candidate=name, engine="vllm", provenance="measured", items=1000, tasks=("t",), smallest_difference=0.5, flips=0.01,
        noise_floor_flips=None, steps=(), recovery=Estimate(value=99.5, low=99.1, high=99.9),
    )  # fmt: skip
    return Decision(
        candidate=name, format=name, state="non-inferior", reason=Bounded(code="non_inferior", bound=99), suite=suite
    )


def seconds(name: str, load: int, measured: Measured) -> float:
    """Of a load with its warm-up."""
    rate = float(np.exp(measured.truth[NAMES.index(name), IN_FLIGHT.index(load)]))
    return 11 * load / rate


@dataclass
class Study:
    """One study as it is measured, and beside it all candidates at all loads in the same rounds."""

    measured: Measured
    level: float
    time: float = 0.0
    all_time: float = 0.0
    starts: int = 0
    all_starts: int = 0

    def run(self) -> tuple[int, list[CostFinding], list[CostFinding], tuple[OpenSpeed, ...]]:
        """Rounds, the findings of both, and what was measured last."""
        done: dict[tuple[str, int], Sequence[int]] = {}
        everything: dict[tuple[str, int], Sequence[int]] = {}
        asked: tuple[OpenSpeed, ...] = ()
        for repeat in range(LOOKS[-1]):
            if repeat in LOOKS:
                still = open_speeds(found(self.measured, done, self.level))
                if not still:
                    break
                asked = still
            everything |= {(name, repeat): IN_FLIGHT for name in NAMES[1:]}
            done |= {(name, repeat): at for name, at in self._loads(repeat, asked).items()}
        else:
            repeat += 1
        sequential, whole = (list(found(self.measured, one, self.level).cost) for one in (done, everything))
        return repeat, sequential, whole, asked

    def _loads(self, repeat: int, asked: Sequence[OpenSpeed]) -> dict[str, Sequence[int]]:
        """What of each candidate is measured in a round; counts its time."""
        whole = sum(seconds(name, load, self.measured) for name in NAMES for load in IN_FLIGHT)
        self.all_time += whole
        if repeat < LOOKS[0]:
            self.time += whole
            return dict.fromkeys(NAMES[1:], IN_FLIGHT)
        chosen = {
            name: sorted({load for one in asked if name in one.candidates for load in one.loads.in_flight})
            for name in NAMES[1:]
        }
        at = {**chosen, "base": sorted({load for one in asked for load in one.loads.in_flight})}
        self.time += sum(seconds(name, load, self.measured) for name, some in at.items() for load in some)
        self.starts += sum(bool(some) for some in at.values())
        self.all_starts += len(NAMES)
        return {name: some for name, some in chosen.items() if some}


def row(spread: float, starts: float, count: int, seed: int) -> Iterator[str]:
    """Figures of one condition."""
    rng = np.random.default_rng([seed, round(1000 * spread), round(1000 * starts)])
    time = all_time = with_starts = all_with_starts = 0.0
    rounds: list[int] = []
    widths: list[float] = []
    missed: list[bool] = []
    wrong: list[bool] = []
    for _ in range(count):
        study = Study(draw(spread, starts, rng), level_of_looks(LEVEL, LOOKS))
        ended, sequential, whole, asked = study.run()
        rounds.append(ended)
        time, all_time = time + study.time, all_time + study.all_time
        with_starts += study.time + SERVER_START_S * study.starts
        all_with_starts += study.all_time + SERVER_START_S * study.all_starts
        last = {(name, one.about) for one in asked for name in one.candidates}
        for one, other in zip(sequential, whole, strict=True):
            own, all_of_it = one.cost_reduction, other.cost_reduction
            if not (isinstance(own, Estimate) and isinstance(all_of_it, Estimate)):
                continue
            truth = study.measured.ratio(one.candidate, one.mode)
            missed.append(not own.low <= truth <= own.high)
            if truth == 1:
                wrong.append(missed[-1])
            if (one.candidate, one.mode) in last:
                widths.append(float(np.log(own.high / own.low) / np.log(all_of_it.high / all_of_it.low)))
    yield f"{spread:.0%}, {starts:.0%}"
    yield f"{np.mean(rounds):.1f}"
    yield f"{100 * time / all_time:.0f}"
    yield f"{100 * with_starts / all_with_starts:.0f}"
    yield f"{np.median(widths):.2f}"
    yield f"{100 * np.mean(missed):.1f}"
    yield f"{100 * np.mean(wrong):.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        "| spread of rounds, of starts | rounds | time, % | with starts, % | width | interval misses the truth, % "
        "| equal speeds called different, % |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for condition in CONDITIONS:
        print(f"| {' | '.join(row(*condition, given.studies, given.seed))} |", flush=True)


if __name__ == "__main__":
    main()
