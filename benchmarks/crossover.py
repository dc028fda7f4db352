"""How often the interval of a crossover holds the true one, of two simulated servers whose latencies are known.

    python benchmarks/crossover.py --studies 4000

A request's latency with N in flight is that of its steps, each a fixed time and a time a request. In the last case a step of
one server has a least time, so that its latency bends. Each round has a speed of its own (5 %), and each latency an error of
its own. Also says how many studies state a crossover.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from whichbits.verdict.crossover import crossing


@dataclass(frozen=True)
class Server:
    """Milliseconds of a step, of each request in it, and the least that a step takes."""

    step: float
    request: float
    least: float = 0.0

    def latency(self, in_flight: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Of 100 steps, in seconds."""
        found: NDArray[np.float64] = 0.1 * np.maximum(self.step + self.request * np.asarray(in_flight), self.least)
        return found


@dataclass(frozen=True)
class Case:
    """Two servers, the loads at which they are measured, rounds, and the relative error of a latency in a round."""

    one: Server
    other: Server
    loads: tuple[float, ...]
    rounds: int
    error: float


NARROW, WIDE = Server(8.0, 1.0), Server(11.0, 0.4)
CASES = {
    "3 rounds, 2 %": Case(NARROW, WIDE, (1, 2, 4, 8, 16), 3, 0.02),
    "5 rounds, 2 %": Case(NARROW, WIDE, (1, 2, 4, 8, 16), 5, 0.02),
    "8 rounds, 5 %": Case(NARROW, WIDE, (1, 2, 4, 8, 16), 8, 0.05),
    "5 rounds, 2 %, few loads": Case(NARROW, WIDE, (1, 16), 5, 0.02),
    "5 rounds, 2 %, rates": Case(NARROW, WIDE, (1, 3, 5, 7, 9), 5, 0.02),
    "5 rounds, 2 %, a bend at 6": Case(NARROW, Server(11.0, 0.4, 13.4), (1, 2, 4, 8, 16), 5, 0.02),
}


def main() -> None:
    """Print a row a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000)
    given = parser.parse_args()
    print("| case | true | stated, % | interval holds it, % | mean error, % | median half-width, % |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, case in CASES.items():
        loads = np.array(case.loads)
        true = brentq(lambda at, c=case: float(c.one.latency(at) - c.other.latency(at)), loads[0], loads[-1])
        draw = np.random.default_rng(0)
        found = []
        for _ in range(given.studies):
            drift = np.exp(draw.normal(0, 0.05, (case.rounds, 1)))
            sides = [
                server.latency(loads) * drift * np.exp(draw.normal(0, case.error, (case.rounds, len(loads))))
                for server in (case.one, case.other)
            ]
            found.append(crossing(loads, *sides))
        stated = [one.load for one in found if one is not None]
        held = np.mean([one.low <= true <= one.high for one in stated])
        error = np.mean([one.value / true - 1 for one in stated])
        width = np.median([(one.high - one.low) / 2 / true for one in stated])
        print(
            f"| {name} | {true:.2f} | {100 * len(stated) / given.studies:.1f} | {100 * held:.1f} | {100 * error:+.1f} "
            f"| {100 * width:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
