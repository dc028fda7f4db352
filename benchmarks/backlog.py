"""How often a load of Poisson arrivals is said to have a growing backlog, of simulated servers by their utilisation.

    python benchmarks/backlog.py --loads 400

A server has slots, each of which takes a request at a time, for a time that is the same always or exponentially distributed.
Loads are judged by `backlog_growth` after a warm-up of a tenth, as in a study. Utilisation is arrivals per second over what all
slots serve in a second: below 100 % the queue is stable, above it grows without end.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whichbits.serving.observation import Observation
from whichbits.serving.run_length import warmup_of
from whichbits.serving.steady import backlog_growth, steady
from whichbits.serving.traffic.arrivals import Random
from whichbits.serving.workload import LoadLevel

REQUESTS = (100, 400, 1600)
UTILISATION = (0.5, 0.8, 0.9, 1.05, 1.1, 1.2)


@dataclass(frozen=True)
class Server:
    """Slots, and whether service times of 1 s a slot are exponentially distributed."""

    slots: int
    exponential: bool

    def ends(self, arrivals: NDArray[np.float64], draw: np.random.Generator) -> list[float]:
        """When each request ends, first come, first served."""
        count = len(arrivals)
        service = draw.exponential(1.0, count) if self.exponential else np.ones(count)
        free, found = [0.0] * self.slots, []
        for arrived, seconds in zip(arrivals.tolist(), service.tolist(), strict=True):
            found.append(max(arrived, heapq.heappop(free)) + seconds)
            heapq.heappush(free, found[-1])
        return found


SERVERS = {
    "1 slot, fixed times": Server(1, exponential=False),
    "1 slot, exponential times": Server(1, exponential=True),
    "8 slots, fixed times": Server(8, exponential=False),
    "8 slots, exponential times": Server(8, exponential=True),
}


def grows(server: Server, utilisation: float, requests: int, seed: int) -> bool:
    """Whether one load is said to have a growing backlog."""
    rate, warmup = utilisation * server.slots, warmup_of(requests)
    level = LoadLevel("rate", None, Random(rate), warmup, requests)
    arrivals = Random(rate).times(requests + warmup, seed)
    ends = server.ends(arrivals, np.random.default_rng([seed, 5]))
    seen = [
        Observation(number, number < warmup, start, start, start, end, end, 8, 8, 8, (), None, 8, 8)
        for number, (start, end) in enumerate(zip(arrivals.tolist(), ends, strict=True))
    ]
    window = steady(seen, level)
    return window is not None and backlog_growth(seen, window, rate) is not None


def main() -> None:
    """Print a row a server and number of requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=400)
    loads = parser.parse_args().loads
    print("| server | requests | " + " | ".join(f"{at:.0%}" for at in UTILISATION) + " |")
    print("|---|--:|" + "--:|" * len(UTILISATION))
    for name, server in SERVERS.items():
        for requests in REQUESTS:
            found = [np.mean([grows(server, at, requests, seed) for seed in range(loads)]) for at in UTILISATION]
            print(f"| {name} | {requests:,} | " + " | ".join(f"{100 * share:.1f}" for share in found) + " |", flush=True)


if __name__ == "__main__":
    main()
