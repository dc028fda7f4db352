"""How often the verdict's intervals of accuracy hold the truth, and how often it claims what is not so.

    python benchmarks/verdict/accuracy.py [--runs 10000] [--seed 0] [--only WORD] [--write docs/verdict.md]

Every condition is a population with a known recovery. Of each run the truth is the bound, so that every claim is wrong:
"non-inferior" and "inferior" may each be said in 2.5 %. Claims are counted by the interval alone and as the verdict makes them,
in spite of clusters that were not seen. Prints a table in Markdown; `--write` puts it between the markers of a page.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from draws import FractionalTask, Task, true_recovery

from whichbits.verdict.rule_of_three import largest_unseen
from whichbits.verdict.score_test import ScoreTest

LEVEL = 0.95
BEGIN, END = "<!-- made by benchmarks/verdict/accuracy.py -->", "<!-- end of accuracy -->"


@dataclass(frozen=True)
class Rates:
    """Of `runs` runs, in %: intervals above and below the truth, and the claims that the verdict makes of them."""

    runs: int
    above: float
    below: float
    non_inferior: float
    inferior: float

    @property
    def covered(self) -> float:
        """Intervals that hold the truth."""
        return 100 - self.above - self.below


Suite = Sequence[Task | FractionalTask]


def measure(tasks: Suite, runs: int, seed: Sequence[int]) -> Rates:
    """Draw `runs` samples and test the truth in each; that the interval holds the truth is that the test keeps it."""
    truth, alpha = true_recovery(tasks), (1 - LEVEL) / 2
    counts = np.zeros(4, dtype=int)
    rng = np.random.default_rng(seed)
    for _ in range(runs):
        samples = [task.draw(rng) for task in tasks]
        test = ScoreTest([sample.stratum for sample in samples])
        if test.denominator <= 0:
            continue  # refused: the base is at chance
        tested = test.test(truth)
        if not tested.rejected(LEVEL):
            continue
        distance = abs(test.numerator - truth * test.denominator)
        if tested.statistic > 0:
            counts += [1, 0, distance >= largest_unseen([sample.losses for sample in samples], alpha), 0]
        else:
            counts += [0, 1, 0, distance > largest_unseen([sample.gains for sample in samples], alpha)]
    return Rates(runs, *(float(100 * count / runs) for count in counts))


def ordinary(lost: float, gained: float, tasks: int = 8) -> list[Task]:
    """A suite of tasks without clusters, half of them multiple choice."""
    return [Task((300, 500, 1000, 2000)[n % 4], 0.6, lost, gained, 0.25 * (n % 2)) for n in range(tasks)]


def mixture(clusters: int, failing: float, **more: float) -> list[Task]:
    """A suite of which one task has clusters, `failing` of them in the mean broken."""
    one = Task(1000, 0.6, 0.02, 0.015, clusters=clusters, rates="broken", broken=failing / clusters, **more)  # type: ignore[arg-type]
    return [one, *ordinary(0.02, 0.015, 7)]


def conditions() -> Iterator[tuple[str, Suite]]:
    """Rows of the table and their conditions; a row shows the worst of them."""
    for lost, gained in ((0.008, 0.008), (0.03, 0.035)):
        yield "suites of 8 tasks, 300 to 2,000 items", ordinary(lost, gained)
    for lost, gained in ((0.015, 0.01), (0.025, 0.02), (0.015, 0.0), (0.03, 0.01)):
        yield "one task of 1,000 items, 10 to 30 flips", [Task(1000, 0.6, lost, gained)]
    for lost, gained in ((0.003, 0.0), (0.004, 0.002)):
        yield "one task of 1,000 items, 2 or 3 flips", [Task(1000, 0.6, lost, gained)]
    for lost, gained in ((0.05, 0.06), (0.2, 0.1)):
        yield "one task of 2,000 items, many flips", [Task(2000, 0.6, lost, gained)]
    yield "10 items", [Task(10, 0.6, 0.2, 0.2)]
    for items in (30, 100):
        yield "30 or 100 items", [Task(items, 0.6, 0.2, 0.2)]
    yield "base always right", [Task(1000, 1.0, 0.03, 0.0)]
    yield "nearly all lost, or worse than chance", [Task(1000, 0.6, 0.97, 0.01)]
    yield "nearly all lost, or worse than chance", [Task(1000, 0.6, 0.8, 0.2, 0.25)]
    yield "base 5 points above chance, 2,000 items", [Task(2000, 0.30, 0.03, 0.01, 0.25)]
    yield "candidate better by a fifth", [Task(1000, 0.5, 0.02, 0.12)]
    for items in (200, 1000):
        yield "scores between 0 and 1", [FractionalTask(items)]
    for clusters in (10, 20, 50, 200):
        yield "clusters without effect: 10 to 200", [Task(2000, 0.6, 0.03, 0.03, clusters=clusters)]
    for clusters in (10, 20, 50):
        yield (
            "strongly clustered flips, 10 to 50 clusters",
            [Task(2000, 0.6, 0.06, 0.04, clusters=clusters, rates="beta", difficulty=0.1)],
        )
    for clusters in (100, 200, 400):
        yield (
            "strongly clustered flips, 100 to 400 clusters",
            [Task(2000, 0.6, 0.06, 0.04, clusters=clusters, rates="beta", difficulty=0.1)],
        )
    for clusters in (10, 20, 50):
        for severity in (1.0, 0.5):
            yield (
                "5 % of clusters broken, 10 to 50 clusters",
                [Task(2000, 0.6, 0.01, 0.01, clusters=clusters, rates="broken", broken=0.05, severity=severity)],
            )
        yield (
            "5 % of clusters broken for the base, 10 to 50 clusters",
            [Task(2000, 0.6, 0.02, 0.01, clusters=clusters, rates="broken", broken=0.05, base_broken=True)],
        )
    for clusters in (100, 200, 400):
        yield (
            "5 % of clusters broken, 100 to 400 clusters",
            [Task(2000, 0.6, 0.01, 0.01, clusters=clusters, rates="broken", broken=0.05)],
        )
    yield "one cluster for all items", [Task(2000, 0.6, 0.06, 0.04, clusters=1, rates="beta")]
    yield (
        "no flip but in broken clusters, 10 of 200 items",
        [Task(2000, 0.6, 0.0, 0.0, clusters=10, rates="broken", broken=0.05)],
    )
    yield "8 tasks of 5 clusters", [Task(200, 0.6, 0.03, 0.03, clusters=5)] * 8
    yield "8 tasks of 5 clusters, flips clustered", [Task(200, 0.6, 0.05, 0.05, clusters=5, rates="beta", icc=0.1)] * 8
    for clusters, failing in ((20, 1.0), (50, 1.0)):
        yield "suites with one task of 20 or 50 clusters, one of them broken", mixture(clusters, failing)
    for sizes in ("lognormal", "one large"):
        yield (
            "clusters of unequal sizes",
            [
                Task(2000, 0.6, 0.05, 0.04, clusters=100, sizes=sizes, rates="beta", icc=0.1)  # type: ignore[arg-type]
            ],
        )


def rows(found: dict[str, list[Rates]]) -> Iterator[str]:
    """The table: of each row the range of coverage and the largest rates of wrong claims."""
    yield "| condition | interval holds the truth, % | above, below it, % | non-inferior, % | inferior, % |"
    yield "|---|---|---|---|---|"
    for name, rates in found.items():
        low, high = min(r.covered for r in rates), max(r.covered for r in rates)
        sides = f"{max(r.above for r in rates):.1f}, {max(r.below for r in rates):.1f}"
        covered = f"{low:.1f}" if len(rates) == 1 else f"{low:.1f} to {high:.1f}"
        wrong = f"{max(r.non_inferior for r in rates):.1f} | {max(r.inferior for r in rates):.1f}"
        yield f"| {name} | {covered} | {sides} | {wrong} |"


def main() -> None:
    """Measure every condition and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[""], help="conditions whose name holds any of these")
    parser.add_argument("--save", type=Path, help="file for the rates, to put tables of parts together")
    parser.add_argument("--load", type=Path, nargs="*", default=[], help="files of rates to take instead of running them")
    parser.add_argument("--write", type=Path, help="page to put the table into")
    arguments = parser.parse_args()
    loaded: dict[str, list[Rates]] = {}
    for part in arguments.load:
        loaded |= {name: [Rates(**r) for r in rates] for name, rates in json.loads(part.read_text()).items()}
    found: dict[str, list[Rates]] = {}
    for number, (name, tasks) in enumerate(conditions()):
        if name in loaded:
            found[name] = loaded[name]
            continue
        if not any(word in name for word in arguments.only):
            continue
        start = time.monotonic()
        rates = measure(tasks, arguments.runs, [arguments.seed, zlib.crc32(f"{name} {number}".encode())])
        found.setdefault(name, []).append(rates)
        print(f"{name}: {rates} {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    if arguments.save:
        arguments.save.write_text(json.dumps({name: [asdict(r) for r in rates] for name, rates in found.items()}))
    error = 100 * np.sqrt(0.025 * 0.975 / arguments.runs)
    table = "\n".join(rows(found))
    table += (
        f"\n\n{arguments.runs:,} runs of each condition; twice the standard error of a rate of 2.5 % is {2 * error:.1f} points."
    )
    print(table)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
        arguments.write.write_text(f"{page[:before]}\n{table}\n{page[after:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
