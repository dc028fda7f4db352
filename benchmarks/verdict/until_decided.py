"""Stopping where nothing is left to decide: how often it errs, what it saves, and whether the full run decides alike.

    python benchmarks/verdict/until_decided.py errors [--runs 10000] [--write docs/explanation/early-stopping.md]
    python benchmarks/verdict/until_decided.py saved  [--runs 4000]  [--write docs/explanation/early-stopping.md]
    python benchmarks/verdict/until_decided.py replay --store STORE [--runs 200]

`errors`: populations whose recovery is the bound itself: every claim is wrong, and each may be made in 2.5 %.
`saved`: a suite of 6 tasks with 10,000 items, by true recovery: decided by all items and by stopping, and items used.
`replay`: a study's own paired items in random orders: how often stopping decides as all items do, and what it saves.
Looks, boundaries, tests and futility are the verdict's own. `--write` puts the table between the markers of a page.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from draws import true_recovery
from growing_samples import Drawn, Population, with_recovery

from whichbits.schema.early_stopping import FUTILITY, EarlyStoppingPlan, Look
from whichbits.studies.store.manifest import read
from whichbits.studies.store.store import Store
from whichbits.verdict.accuracy import suites
from whichbits.verdict.collect import collect
from whichbits.verdict.early_stopping.group_sequential import GroupSequential
from whichbits.verdict.early_stopping.methods import method_of
from whichbits.verdict.early_stopping.schedule import equal_items, looks
from whichbits.verdict.early_stopping.variances import variances, with_prior
from whichbits.verdict.paired import Paired
from whichbits.verdict.rule_of_three import Units, gains, largest_unseen, losses
from whichbits.verdict.score_test import ScoreTest, recovery_stratum
from whichbits.verdict.statistics import cluster_numbers

LEVEL = 0.95
NEAR = 0.75
"""The verdict's test is computed where the plain statistic is beyond so much of a boundary, or where futility could be told."""
LOOKS = 20


@dataclass(frozen=True)
class Design:
    """The looks at a suite, and the bound."""

    tasks: Sequence[Population]
    bound: float
    number: int = LOOKS

    @cached_property
    def most(self) -> dict[str, int]:
        """Items by task."""
        return {str(n): task.items for n, task in enumerate(self.tasks)}

    @cached_property
    def looks(self) -> tuple[Look, ...]:
        """The study's looks."""
        return looks(self.most, self.number)

    @cached_property
    def method(self) -> GroupSequential:
        """The method as it is planned."""
        return group_sequential(self.looks, self.most)

    @cached_property
    def counts(self) -> list[dict[str, int]]:
        """Items by task at each look."""
        return [equal_items(look.count, self.most) for look in self.looks]

    def run(self, rng: np.random.Generator) -> Run:
        """Draw a sample and look at it, until it is decided."""
        samples = [task.draw(rng, [count[str(n)] for count in self.counts]) for n, task in enumerate(self.tasks)]
        parts = [sample.contrast(self.bound) for sample in samples]
        plain = sum(mean for mean, _ in parts) / np.sqrt(sum(variance for _, variance in parts))
        given_up: float | None = None
        claim = 0
        for look, distance in enumerate(plain):
            used = self.looks[look].items / self.looks[-1].items
            method = self.method
            near = abs(distance) > NEAR * method.critical[look]
            if given_up is None and not near:
                chance = method.chance_to_decide(look + 1, distance) / method.futility
                near = 0.5 < chance < 2.0
            if near:
                method = self._method_of(look, parts)
                claim, distance = self._claim([sample.at(look) for sample in samples], method.level(look + 1))
            if claim:
                break
            if given_up is None and method.futile(look + 1, distance):
                given_up = used
        full = 0
        if abs(plain[-1]) > NEAR * self.method.critical[-1]:
            full = self._claim([sample.at(-1) for sample in samples], LEVEL)[0]
        return Run(claim, used, full, given_up)

    def _method_of(self, look: int, parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> GroupSequential:
        """The method as a look makes it: from how much the items of each task change there."""
        items = self.counts[look]
        squares = {task: float(part[1][look]) * items[task] ** 2 for task, part in zip(items, parts, strict=True)}
        return group_sequential(self.looks, self.most, with_prior(items, squares))

    def _claim(self, drawn: Sequence[Drawn], level: float) -> tuple[int, float]:
        test = ScoreTest([one.stratum for one in drawn])
        return claimed(
            test,
            self.bound,
            level,
            lambda: [one.losses for one in drawn],
            lambda: [one.gains for one in drawn],
            1 / test.denominator,
        )


def group_sequential(
    looks: Sequence[Look], most: Mapping[str, int], variances: Mapping[str, float] | None = None
) -> GroupSequential:
    """The verdict's method for a candidate whose tasks vary so; as planned without."""
    plan = EarlyStoppingPlan(method=GroupSequential.name, futility=FUTILITY, looks=tuple(looks), most=most)
    found = method_of(plan, level=LEVEL, variances=variances)
    assert isinstance(found, GroupSequential)
    return found


def claimed(
    test: ScoreTest,
    bound: float,
    level: float,
    losses: Callable[[], Sequence[Units]],
    gains: Callable[[], Sequence[Units]],
    unit: float,
) -> tuple[int, float]:
    """1 for non-inferior, −1 for inferior, 0 for neither; and the distance from the bound, in standard errors.

    The effects of the units are changes of the recovery by `unit`.
    """
    if test.denominator <= 0:
        return 0, 0.0
    tested = test.test(bound)
    if not tested.rejected(level):
        return 0, tested.distance
    away, alpha = abs(test.numerator / test.denominator - bound), (1 - LEVEL) / 2
    if tested.statistic > 0:
        return int(away >= unit * largest_unseen(losses(), alpha)), tested.distance
    return -int(away > unit * largest_unseen(gains(), alpha)), tested.distance


@dataclass(frozen=True)
class Run:
    """A claim where futility is not heeded, and the share of items used; the claim of all items in one look.

    `given_up` is the share of items at which futility would have ended it before, with no claim.
    """

    claim: int
    used: float
    full: int
    given_up: float | None

    @property
    def heeded(self) -> tuple[int, float]:
        """Claim and share of items used where futility is heeded."""
        return (self.claim, self.used) if self.given_up is None else (0, self.given_up)


SIZES = (400, 700, 1200, 1700, 2500, 3500)
"""Of the suite of 6 tasks, 10,000 items together."""


def suite(flips: float = 0.05, **more: float) -> list[Population]:
    """6 tasks with 10,000 items, half of them multiple choice."""
    return [
        Population(size, lost=0.6 * flips, gained=0.6 * flips, chance=0.25 * (n % 2), **more)  # type: ignore[arg-type]
        for n, size in enumerate(SIZES)
    ]


def conditions() -> Iterator[tuple[str, list[Population]]]:
    """Conditions of the table of errors, before their recovery is put at the bound."""
    for flips in (0.02, 0.05, 0.08):
        yield f"6 tasks, 10,000 items, {100 * flips:.0f} % of the answers change", suite(flips)
    yield "one task of 1,000 items", [Population(1000)]
    yield "one task of 200 items", [Population(200, lost=0.1, gained=0.08)]
    mixed = [
        replace(task, lost=share, gained=share) for task, share in zip(suite(), (0.01, 0.01, 0.02, 0.02, 0.1, 0.1), strict=True)
    ]
    yield "6 tasks, the large ones change ten times as often", mixed
    mixed = [
        replace(task, lost=share, gained=share) for task, share in zip(suite(), (0.1, 0.1, 0.02, 0.02, 0.01, 0.01), strict=True)
    ]
    yield "6 tasks, the small ones change ten times as often", mixed
    for samples in (4, 20):
        yield (
            f"3 tasks of 30, 198 and 500 items, {samples} samples an item",
            [Population(size, lost=0.03, gained=0.03, samples=samples) for size in (30, 198, 500)],
        )
    for clusters in (50, 100, 200):
        yield (
            f"3 tasks in {clusters} clusters of 10, correlation 0.3",
            [Population(10 * clusters, lost=0.08, gained=0.08, clusters=clusters, icc=0.3) for _ in range(3)],
        )
    yield (
        "3 tasks in 200 clusters of 10, 2 % of them broken",
        [Population(2000, lost=0.02, gained=0.06, clusters=200, broken=0.02) for _ in range(3)],
    )
    yield "6 tasks, one in 20 clusters of 20, correlation 0.3", [
        replace(suite()[0], clusters=20, icc=0.3), *suite()[1:],
    ]  # fmt: skip


def errors(runs: int, seed: int, only: str) -> Iterator[str]:
    """The table of errors, with futility heeded and not."""
    yield "| non-inferior, inferior: all wrong, % | margin | stopping | futility not heeded | all items | items used, % |"
    yield "|---|---|---|---|---|---|"
    for name, tasks in conditions():
        if only not in name:
            continue
        for margin in (0.01, 0.03) if len(tasks) == len(SIZES) else (0.03,):
            design = Design(with_recovery(tasks, 1 - margin), 1 - margin)
            assert abs(true_recovery(design.tasks) - design.bound) < 1e-9, "the truth is the bound"
            rng = np.random.default_rng([seed, int(1000 * margin)])
            found = [design.run(rng) for _ in range(runs)]
            cells = [_pair(claims) for claims in zip(*[(run.heeded[0], run.claim, run.full) for run in found], strict=True)]
            used = 100 * float(np.mean([run.heeded[1] for run in found]))
            yield f"| {name} | {100 * margin:.0f} % | {' | '.join(cells)} | {used:.0f} |"


def _pair(claims: Sequence[int]) -> str:
    found = np.array(claims)
    return f"{100 * np.mean(found > 0):.1f}, {100 * np.mean(found < 0):.1f}"


RECOVERIES = (1.0, 0.995, 0.98, 0.95, 0.9)


def saved(runs: int, seed: int) -> Iterator[str]:
    """What is saved, and what it costs in power, by true recovery; flips of 2 to 8 %."""
    yield "| margin | recovery | decided by all items, % | by stopping, % | alike, % | items saved, % | without futility, % |"
    yield "|---|---|---|---|---|---|---|"
    for margin in (0.01, 0.03):
        for recovery in (*RECOVERIES, 1 - margin):
            rng = np.random.default_rng([seed, int(1000 * margin), int(1000 * recovery)])
            designs = [Design(with_recovery(suite(flips), recovery), 1 - margin) for flips in (0.02, 0.04, 0.06, 0.08)]
            found = [design.run(rng) for design in designs for _ in range(runs // 4)]
            claims = np.array([(run.full, run.heeded[0]) for run in found])
            full, stopped = 100 * np.mean(claims != 0, axis=0)
            alike = 100 * np.mean(claims[:, 0] == claims[:, 1])
            less = 100 * (1 - np.mean([(run.heeded[1], run.used) for run in found], axis=0))
            name = f"{100 * recovery:g} %" + (" (the bound)" if recovery == 1 - margin else "")
            cells = " | ".join(f"{cell:.0f}" for cell in (full, stopped, alike, *less))
            yield f"| {100 * margin:.0f} % | {name} | {cells} |"


def replay(store: Path, orders: int, seed: int, margins: Sequence[float]) -> Iterator[str]:
    """A study's results in random orders: decided as by all items, and items saved."""
    manifest = read(store)
    findings = collect(manifest.records(Store(store)), manifest.base, manifest.formats, base_bytes=manifest.base_bytes)
    yield "| margin | candidate | recovery, % | by all items | decided alike, % of orders | items saved, % |"
    yield "|---|---|---|---|---|---|"
    for margin in margins:
        every: list[float] = []
        for entry in suites(findings, level=LEVEL):
            pairs = [_numbered(scored.pair) for scored in entry.tasks]
            found = [_replayed(pairs, 1 - margin, np.random.default_rng([seed, order])) for order in range(orders)]
            full = _claim(pairs, 1 - margin, LEVEL)[0]
            alike = 100 * float(np.mean([claim == full for claim, _ in found]))
            saved_here = [100 * (1 - used) for _, used in found]
            every += saved_here
            kept = entry.finding.recovery
            name = f"{entry.finding.candidate}{', emulated' if entry.finding.provenance == 'emulated' else ''}"
            interval = f"{kept.value:.1f} ({kept.low:.1f} to {kept.high:.1f})"
            said = {1: "non-inferior", -1: "inferior", 0: "inconclusive"}[full]
            yield f"| {100 * margin:g} % | {name} | {interval} | {said} | {alike:.1f} | {np.mean(saved_here):.0f} |"
        yield f"| {100 * margin:g} % | all | | | | {np.mean(every):.0f} |"


def _replayed(pairs: Sequence[Paired], bound: float, rng: np.random.Generator) -> tuple[int, float]:
    """The claim of a study that takes the items in a random order, and the share of items that it uses."""
    most = {str(number): pair.items for number, pair in enumerate(pairs)}
    plan = looks(most, LOOKS)
    orders = [_order(pair, rng) for pair in pairs]
    for number, look in enumerate(plan, start=1):
        counts = equal_items(look.count, most).values()
        seen = [_first(pair, order[:count]) for pair, order, count in zip(pairs, orders, counts, strict=True)]
        method = group_sequential(plan, most, variances({str(task): [pair] for task, pair in enumerate(seen)}))
        claim, distance = _claim(seen, bound, method.level(number))
        if claim or method.futile(number, distance):
            break
    return claim, look.items / plan[-1].items


def _numbered(pair: Paired) -> Paired:
    """The same with numbers for clusters, and none where every item is its own."""
    return replace(
        pair, cluster=cluster_numbers(pair.cluster).tolist() if pair.cluster is not None and pair.clustered else None
    )


def _order(pair: Paired, rng: np.random.Generator) -> NDArray[np.int64]:
    """Items in a random order, those of a cluster together."""
    if pair.cluster is None:
        return rng.permutation(pair.items)
    numbers = cluster_numbers(pair.cluster)
    place = rng.permutation(int(numbers.max()) + 1)
    return np.argsort(place[numbers], kind="stable")


def _first(pair: Paired, items: NDArray[np.int64]) -> Paired:
    cluster = None if pair.cluster is None else [pair.cluster[item] for item in items]
    return replace(pair, base=pair.base[items], score=pair.score[items], cluster=cluster)


def _claim(pairs: Sequence[Paired], bound: float, level: float) -> tuple[int, float]:
    return claimed(
        ScoreTest([recovery_stratum(pair) for pair in pairs]), bound, level, lambda: losses(pairs), lambda: gains(pairs), 0.01
    )


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["errors", "saved", "replay"])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, help="of the study that is replayed")
    parser.add_argument("--margins", type=float, nargs="+", default=[0.01, 0.03])
    parser.add_argument("--only", default="", help="conditions whose name holds this")
    parser.add_argument("--write", type=Path, help="page to put the table into")
    given = parser.parse_args()
    lines = []
    tables = {
        "errors": lambda: errors(given.runs, given.seed, given.only),
        "saved": lambda: saved(given.runs, given.seed),
        "replay": lambda: replay(given.store, given.runs, given.seed, given.margins),
    }
    for line in tables[given.table]():
        print(line, flush=True)
        lines.append(line)
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        begin, end = f"<!-- made by until_decided.py {given.table} -->", f"<!-- end of {given.table} -->"
        if begin not in text:
            sys.exit(f"{given.write} has no line {begin}")
        table = "\n".join([*lines, "", f"{given.runs:,} runs of each."])
        given.write.write_text(
            re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.S), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
