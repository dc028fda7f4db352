"""How near the capacity is found, and how often its interval holds it, against simulated servers of known capacity.

    python benchmarks/capacity.py --studies 200 --runs 8
    python benchmarks/capacity.py --studies 200 --until-told

A server batches continuously: each step takes a fixed time, a time a sequence and a time a prompt that begins, and at most
so many sequences run at once. Requests arrive by a Poisson process. The true capacity is found by bisection, over 120,000
requests a rate. Each study begins at a guess that is 40 % too low to 35 % too high. Runs are found by `next_rate`, and judged
by `capacity_run`, as in a study.

With `--until-told` a candidate and the base are looked at after 3, 6 and 12 rounds of three runs each, as `most_rounds: 12` has
it, until their capacities are told apart; the search goes on from the runs before. Its columns: studies in which they were told
apart, and in which an interval of any look missed the true ratio; the same with intervals that know of one look alone; and how
many rounds there were in the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, isfinite

import numpy as np
from numba import njit

from whichbits.core.crossing import Point
from whichbits.schema.workload import CapacitySearch, Slo, Workload
from whichbits.serving.capacity import capacity_run, next_rate, point
from whichbits.serving.evidence import of_requests
from whichbits.serving.metrics.registry import all_metrics
from whichbits.serving.observation import Observation
from whichbits.serving.result import LoadLevelResult, metrics_of, rows_of
from whichbits.serving.run_length import requests_of, warmup_of
from whichbits.serving.steady import steady
from whichbits.serving.traffic.arrivals import Random
from whichbits.serving.workload import LoadLevel
from whichbits.verdict.capacity import capacity, ratio
from whichbits.verdict.looks import level_of_looks

LOOKS = (3, 6, 12)
"""Rounds."""
RUNS = 3
"""In each round."""
PROMPT = 16
"""Tokens of a prompt; what it takes is the server's `prompt`."""


@dataclass(frozen=True)
class Server:
    """Seconds of a step, of each sequence in it, and of each prompt that begins; sequences at once; output tokens."""

    step: float
    sequence: float
    prompt: float
    slots: int
    tokens: int
    spread: float
    """Standard deviation of the output's length over its mean."""
    slo: Slo


def limits(**seconds: tuple[float, float]) -> Slo:
    """Limits by name, as (seconds, percentile)."""
    return Slo.model_validate({name: {"seconds": value, "percentile": at} for name, (value, at) in seconds.items()})


SERVERS = {
    "latency, p95": Server(0.012, 0.0002, 0.02, 64, 128, 0.0, limits(latency=(3.2, 95))),
    "TTFT, p95, a full batch": Server(0.012, 0.0003, 0.03, 64, 128, 0.5, limits(ttft=(0.2, 95))),
    "TPOT, p90": Server(0.015, 0.0004, 0.03, 128, 200, 0.5, limits(tpot=(0.04, 90))),
    "latency, p95, two cores": Server(0.03, 0.004, 0.05, 16, 32, 0.0, limits(latency=(4.0, 95))),
    "TTFT and TPOT, p95": Server(0.02, 0.0005, 0.05, 32, 100, 0.5, limits(ttft=(0.5, 95), tpot=(0.05, 95))),
}


@njit(cache=True)  # type: ignore[untyped-decorator]
def served(arrivals, tokens, slots, step, sequence, prompt):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """TTFT and latency of each request, seconds."""
    count = len(arrivals)
    first, end, left = np.zeros(count), np.zeros(count), tokens.copy()
    active, running, following, now, done = np.zeros(slots, np.int64), 0, 0, 0.0, 0
    while done < count:
        if running == 0 and arrivals[following] > now:
            now = arrivals[following]
        begun = 0
        while following < count and arrivals[following] <= now and running < slots:
            active[running] = following
            running, following, begun = running + 1, following + 1, begun + 1
        now += step + sequence * running + prompt * begun
        place = 0
        while place < running:
            request = active[place]
            if left[request] == tokens[request]:
                first[request] = now
            left[request] -= 1
            if left[request] == 0:
                end[request] = now
                running, done = running - 1, done + 1
                active[place] = active[running]
            else:
                place += 1
    return first - arrivals, end - arrivals


def run(server: Server, rate: float, requests: int, seed: int) -> Point | None:
    """What a run at a rate tells, over so many requests after the warm-up; None where it tells nothing."""
    draw = np.random.default_rng([seed, 7])
    warmup = warmup_of(requests)
    level = LoadLevel("capacity run", None, Random(rate), warmup, requests, seeks_capacity=True)
    arrivals = Random(rate).times(requests + warmup, seed)
    tokens = np.maximum(2, draw.normal(server.tokens, server.spread * server.tokens, requests + warmup)).astype(np.int64)
    ttft, latency = served(arrivals, tokens, server.slots, server.step, server.sequence, server.prompt)
    rows = zip(*(column.tolist() for column in (arrivals, arrivals + ttft, arrivals + latency, tokens)), strict=True)
    seen = [
        Observation(number, number < warmup, start, start, first, end, end, PROMPT, count, count, (), None, PROMPT, count)
        for number, (start, first, end, count) in enumerate(rows)
    ]
    limited = {f"{name}_s" for name in server.slo.limits()} | {"latency_s", "requests_per_second", "output_tokens_per_second"}
    metrics = [metric for metric in all_metrics() if metric.described.key in limited]
    window = steady(seen, level)
    metrics_seen = metrics_of(seen, metrics, window)
    result = LoadLevelResult(
        load_level=level.name,
        concurrency=None,
        rate=rate,
        valid=True,
        metrics=metrics_seen,
        evidence=of_requests(seen, level, metrics_seen, window),
        rows=rows_of(seen, metrics),
    )
    workload = Workload(name="simulated", prompt_tokens=PROMPT, output_tokens=server.tokens, slo=server.slo)
    found = capacity_run(result, level, workload)
    return None if found is None else point(found)


def true_capacity(server: Server) -> float:
    """Where the worst limit is met, to 0.1 %."""
    low, high = 0.01, 200.0
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        runs = [run(server, middle, 60_000, seed) for seed in range(2)]
        holds = np.mean([inf if one is None else one.value for one in runs]) < 1
        low, high = (middle, high) if holds else (low, middle)
    return (low * high) ** 0.5


def study(server: Server, guess: float, runs: int, seed: int) -> list[Point]:
    """The runs of a study."""
    points: list[Point] = []
    requests = requests_of(CapacitySearch(), server.slo)
    for number in range(runs):
        points += told(run(server, next_rate(points, guess), requests, 1000 * seed + number))
    return points


def told(found: Point | None) -> list[Point]:
    """The point of a run, where it tells one."""
    return [] if found is None else [found]


def faster(server: Server, times: float) -> Server:
    """A server with a capacity so many times as high: all its times are shorter, and so are the limits."""
    slo = {name: (limit.seconds / times, limit.percentile) for name, limit in server.slo.limits().items()}
    shorter = {name: getattr(server, name) / times for name in ("step", "sequence", "prompt")}
    return replace(server, **shorter, slo=limits(**slo))


def looked_at(
    servers: Sequence[Server], guesses: Sequence[float], level: float, true: float, seed: int
) -> tuple[bool, bool, int]:
    """Whether the first of two servers is told from the second, whether an interval missed the truth, and the rounds."""
    points: list[list[Point]] = [[], []]
    missed, made = False, 0
    for rounds in LOOKS:
        for side, (server, guess) in enumerate(zip(servers, guesses, strict=True)):
            requests = requests_of(CapacitySearch(), server.slo)
            for number in range(made, RUNS * rounds):
                rate = next_rate(points[side], guess)
                points[side] += told(run(server, rate, requests, 100_000 * seed + 1000 * side + number))
        made = RUNS * rounds
        found = ratio(*(capacity(side, level=level) for side in points), level=level)
        missed |= found is not None and not found.low <= true <= found.high
        if found is not None and not found.low <= 1 <= found.high:
            return True, missed, rounds
    return False, missed, LOOKS[-1]


def until_told(studies: int) -> Iterator[str]:
    """A line for each server and true ratio."""
    yield "| limits | true ratio | told apart, % | missed, % | told by plain intervals, % | missed, % | mean rounds |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name in ("latency, p95, two cores", "TPOT, p90"):
        base = SERVERS[name]
        at = true_capacity(base)
        for true in (1.0, 1.05, 1.1):
            results = []
            for level in (level_of_looks(0.95, LOOKS), 0.95):
                draws = (np.exp(np.random.default_rng(seed).uniform(-0.5, 0.3, 2)) for seed in range(studies))
                pair = (faster(base, true), base)
                found = [
                    looked_at(pair, (at * true * float(one), at * float(other)), level, true, seed)
                    for seed, (one, other) in enumerate(draws)
                ]
                results.append(np.array(found, dtype=float).mean(axis=0))
            wide, plain = results
            shown = " | ".join(f"{100 * share:.1f}" for share in (wide[0], wide[1], plain[0], plain[1]))
            yield f"| {name} | {true:.2f} | {shown} | {wide[2]:.1f} |"


def main() -> None:
    """Print a row a server, then one of ratios between neighbours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--until-told", action="store_true")
    given = parser.parse_args()
    if given.until_told:
        for line in until_told(given.studies):
            print(line, flush=True)
        return
    print("| limits | true, requests/s | within 5 %, % | mean error, % | interval holds it, % | median half-width, % |")
    print("|---|--:|--:|--:|--:|--:|")
    known = {}
    for name, server in SERVERS.items():
        true = true_capacity(server)
        guesses = [true * float(np.exp(np.random.default_rng(seed).uniform(-0.5, 0.3))) for seed in range(given.studies)]
        found = [capacity(study(server, guess, given.runs, seed)) for seed, guess in enumerate(guesses)]
        known[name] = true, found
        errors = np.array([one.rate / true - 1 for one in found])
        held = np.mean([one.low <= true <= one.high for one in found])
        widths = [np.log(one.high / one.low) / 2 if one.low > 0 and isfinite(one.high) else inf for one in found]
        print(
            f"| {name} | {true:.2f} | {100 * np.mean(abs(errors) < 0.05):.1f} | {100 * errors.mean():+.1f} "
            f"| {100 * held:.1f} | {100 * float(np.median(widths)):.1f} |",
            flush=True,
        )
    names = list(known)
    for one, other in pairwise(names):
        ratios = [ratio(a, b) for a, b in zip(known[one][1], known[other][1], strict=True)]
        true = known[one][0] / known[other][0]
        told = [found for found in ratios if found is not None]
        held = np.mean([found.low <= true <= found.high for found in told])
        print(f"ratio of {one!r} to {other!r}: interval holds it in {100 * held:.1f} % of {len(told)} that have one")


if __name__ == "__main__":
    main()
