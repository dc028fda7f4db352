"""How often two looks at a speed, after a few rounds and after more, call a ratio decided that is 1, and one that is not.

    python benchmarks/verdict/looks.py [--runs 40000] [--seed 0]

Rounds with a common spread go through the intervals that the verdict uses (`whichbits.verdict.round_statistics.half_width`).
The second look is taken where the first leaves the ratio open, as `most_rounds` has it. Each line: the share decided by either
look with the intervals of `verdict.looks`, the share that plain intervals of 95 % would decide, and the mean number of rounds.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from whichbits.verdict.looks import level_of_looks
from whichbits.verdict.round_statistics import half_width

Array = NDArray[np.float64]
LEVEL, SPREAD = 0.95, 0.03
LOOKS = ((2, 4), (3, 5), (3, 6), (3, 10), (5, 10))
RATIOS = (1.0, 1.02, 1.05, 1.1, 1.3)


def decided(logs: Array, rounds: int, level: float) -> NDArray[np.bool_]:
    """Whether the first rounds of each run (runs, rounds) tell its ratio from 1."""
    own = logs[:, :rounds]
    nothing = np.zeros((len(own), 1))
    told: NDArray[np.bool_] = np.abs(own.mean(axis=1)) > half_width(own, nothing, np.ones_like(nothing), level)
    return told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print("| rounds, spread 3 % | ratio | decided, % | by plain intervals, % | mean rounds |\n|---|---|---|---|---|")
    for looks in LOOKS:
        for ratio in RATIOS:
            logs = rng.normal(np.log(ratio), SPREAD, (given.runs, looks[-1]))
            level = level_of_looks(LEVEL, looks)
            first, second = (decided(logs, rounds, level) for rounds in looks)
            plain = decided(logs, looks[0], LEVEL) | decided(logs, looks[1], LEVEL)
            rounds = np.where(first, *looks).mean()
            both = 100 * np.mean(first | second)
            print(f"| {looks[0]}, then {looks[1]} | {ratio:.2f} | {both:.1f} | {100 * np.mean(plain):.1f} | {rounds:.1f} |")


if __name__ == "__main__":
    main()
