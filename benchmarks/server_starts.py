"""How much speeds differ from one start of a server to the next, beside from round to round: on this machine, with vLLM.

    python benchmarks/server_starts.py --candidate w8a8-int=FOLDER [--starts 6] [--rounds 3]

Starts the servers of the base and of the candidates anew again and again, and measures rounds in turn, as a study does.
Prints for each load how the ratio to the base of the same round differs: from round to round within a start, and between starts
beyond that. Then the starts count as two runs, the first half and the second: does the ratio of each run lie in the 95 %
prediction interval that the other one gives? The last column asks the same of every way to part the starts into two halves.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from whichbits.engines.vllm.command import find_vllm
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import Settings, serving_settings
from whichbits.hardware.this_machine import describe, processors
from whichbits.models.resolve import resolve
from whichbits.schema.workload import Workload
from whichbits.serving.measure import measure
from whichbits.serving.rounds import order
from whichbits.verdict.round_statistics import half_width

Array = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a logarithm, as shares."""

    within: float
    between: float
    """Between starts, beyond what rounds explain; 0 where the starts differ by no more."""
    between_at_most: float
    """Upper end of the one-sided 95 % interval."""


def spread(logs: Array) -> Spread:
    """Of logarithms (starts, rounds): rounds of one start differ by `within`, their means by `between` too."""
    starts, rounds = logs.shape
    within = logs.var(axis=1, ddof=1).mean()
    of_means = logs.mean(axis=1).var(ddof=1)
    between = of_means - within / rounds
    # Of the means' variance, whose share of their degrees of freedom is chi-squared; what rounds explain is taken off whole.
    highest = of_means * (starts - 1) / stats.chi2.ppf(0.05, starts - 1) - within / rounds
    return Spread(*(float(np.sqrt(max(one, 0.0))) for one in (within, between, highest)))


def predicted(logs: Array) -> tuple[float, float]:
    """The interval in which the ratio of a second run of as many starts lies, from logarithms (starts, rounds) of the first.

    A start counts once, as in the verdict. The difference of two such means varies twice as much as one: the interval is
    √2 times as wide as that of the ratio itself.
    """
    means = logs.mean(axis=1)
    half = math.sqrt(2) * float(half_width(means, np.zeros(1), np.ones(1), LEVEL))
    return math.exp(means.mean() - half), math.exp(means.mean() + half)


def falls(first: Array, second: Array) -> bool:
    """Whether the ratio of the second run lies where the first predicts it."""
    low, high = predicted(first)
    return low <= math.exp(second.mean()) <= high


def halves(logs: Array) -> Iterator[tuple[Array, Array]]:
    """Every way to take half of the starts as the first run and the others as the second."""
    starts = range(len(logs))
    for chosen in combinations(starts, len(logs) // 2):
        yield logs[list(chosen)], logs[[start for start in starts if start not in chosen]]


@contextmanager
def started(folders: dict[str, Path], settings: Settings) -> Iterator[dict[str, Server]]:
    """A server for each checkpoint, at once, as in a measurement session."""
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {}
        for name, folder in folders.items():
            servers[name] = stack.enter_context(
                Server(
                    find_vllm(), folder, arguments=settings.arguments, environment=settings.environment,
                    log=logs / name, cpus=processors(settings.server_cpus) if settings.server_cpus else None,
                )
            )  # fmt: skip
        yield servers


def rates(
    servers: dict[str, Server], tokenizer: Path, settings: Settings, workload: Workload, rounds: int, seed: int
) -> dict[tuple[str, str], list[float]]:
    """Requests per second of each round, by candidate and load."""
    client = set(processors(settings.client_cpus)) if settings.client_cpus else None
    found: dict[tuple[str, str], list[float]] = {}
    for repeat in range(rounds):
        for name in order(list(servers), seed=seed, repeat=repeat):
            for level in measure(servers[name].url, servers[name].model, tokenizer, workload, seed=seed + repeat, cpus=client):
                rate = level.metrics.requests_per_second
                assert rate is not None, f"{name} answered nothing"
                found.setdefault((name, level.load_level), []).append(float(rate))
    return found


def main() -> None:
    """Print each start's ratios, then a row a candidate and load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--candidate", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--starts", type=int, default=6, help="an even number, 4 at least: half of them are a run")
    parser.add_argument("--rounds", type=int, default=3, help="of each start, 2 at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=16, help="beside one request at a time")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=24)
    parser.add_argument("--requests-per-stream", type=int, default=5)
    given = parser.parse_args()
    if given.starts < 4 or given.starts % 2:
        parser.error(f"--starts {given.starts}: an even number of at least 4")
    if given.rounds < 2:
        parser.error(f"--rounds {given.rounds}: one says nothing of how rounds differ")
    model = resolve(given.model)
    base, cache = model.path, model.configuration.kv_bytes_per_token
    workload = Workload(
        name="starts", prompt_tokens=given.prompt_tokens, output_tokens=given.output_tokens, synchronous=True,
        concurrency=(given.concurrency,), requests_per_stream=given.requests_per_stream,
    )  # fmt: skip
    settings = serving_settings(describe(), cache, max_length=workload.longest_request + 64)
    named = (one.partition("=") for one in given.candidate)
    folders = {"base": base, **{name: Path(folder) for name, _, folder in named}}
    ratios: dict[tuple[str, str], list[list[float]]] = {}
    for start in range(given.starts):
        with started(folders, settings) as servers:
            found = rates(servers, base, settings, workload, given.rounds, given.seed + start * given.rounds)
        for (name, load), measured in found.items():
            if name != "base":
                logs = np.log(measured) - np.log(found["base", load])
                ratios.setdefault((name, load), []).append(logs.tolist())
                print(f"start {start + 1}, {name}, {load}: {', '.join(f'{one:.3f}' for one in np.exp(logs))}", flush=True)
    print("\n| candidate | load | ratio to the base | rounds of one start | starts beyond that | at most ", end="")
    print("| first run predicts | second run | falls into it, both ways | of all halves |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for (name, load), logs in ratios.items():
        every = np.array(logs)
        of = spread(every)
        first, second = every[: len(every) // 2], every[len(every) // 2 :]
        low, high = predicted(first)
        both = falls(first, second) + falls(second, first)
        share = np.mean([falls(*pair) for pair in halves(every)])
        print(
            f"| {name} | {load} | {math.exp(every.mean()):.3f} | {of.within:.1%} | {of.between:.1%} | {of.between_at_most:.1%} "
            f"| {low:.3f} to {high:.3f} | {math.exp(second.mean()):.3f} | {both} of 2 | {share:.0%} |"
        )


if __name__ == "__main__":
    main()
