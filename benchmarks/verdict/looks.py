"""How often several looks at a speed call a ratio decided that is 1, and one that is not.

    python benchmarks/verdict/looks.py [--runs 40000] [--seed 0]

Rounds with a common spread go through the intervals that the verdict uses (`whichbits.verdict.round_statistics.half_width`).
Those after the first look are of a start of the servers each, so that its rounds count as one observation from three starts on.
Each look is taken where those before it leave the ratio open, as `most_rounds` and `speed_budget` have it. Each line: the share
decided by any look with the intervals of `verdict.looks`, the share that plain intervals of 95 % would decide, and the mean
number of rounds.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from whichbits.verdict.looks import level_of_looks
from whichbits.verdict.round_statistics import Sides, half_width, units_of

Array = NDArray[np.float64]
LEVEL, SPREAD = 0.95, 0.03
LOOKS = ((3, 4), (3, 6), (3, 6, 12), (3, 6, 12, 24), (2, 4, 8, 16))
RATIOS = (1.0, 1.02, 1.05, 1.1, 1.3)


def decided(logs: Array, first: int, rounds: int, level: float) -> NDArray[np.bool_]:
    """Whether the first `rounds` of each run (runs, rounds), of which the `first` are of one start, tell its ratio from 1."""
    side = Sides(logs[:, None, :rounds], np.zeros((len(logs), 1, rounds)), np.ones((len(logs), 1, rounds)))
    side = side.by_unit(units_of([max(place, first - 1) for place in range(rounds)]))
    own, nothing = side.logs[:, 0], side.variances[:, 0]
    told: NDArray[np.bool_] = np.abs(own.mean(axis=1)) > half_width(own, nothing, np.ones_like(nothing), level)
    return told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print("| looks | true ratio | decided, % | by plain intervals, % | mean rounds |\n|---|---|---|---|---|")
    for looks in LOOKS:
        for ratio in RATIOS:
            logs = rng.normal(np.log(ratio), SPREAD, (given.runs, looks[-1]))
            told = np.array([decided(logs, looks[0], rounds, level_of_looks(LEVEL, looks)) for rounds in looks])
            plain = np.array([decided(logs, looks[0], rounds, LEVEL) for rounds in looks])
            ended = np.where(told.any(axis=0), told.argmax(axis=0), len(looks) - 1)
            shares = " | ".join(f"{100 * np.mean(one.any(axis=0)):.1f}" for one in (told, plain))
            print(f"| {', '.join(map(str, looks))} | {ratio:.2f} | {shares} | {np.array(looks)[ended].mean():.1f} |")


if __name__ == "__main__":
    main()
