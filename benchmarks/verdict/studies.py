"""Whole studies with known truth through `collect` and `decide`: how often the verdict is wrong, and how often it decides.

    python benchmarks/verdict/studies.py [--studies 600] [--seed 0] [--write docs/verdict.md]

A study has 5 to 8 tasks of 200 to 1,000 items, half of them multiple choice, a third in clusters of 5 items whose flips are
correlated, and six candidates whose true recovery and true speed are known; three rounds of speeds, alone and at 16 requests.
Tables are kept in memory; all else is as in a store.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow

from whichbits.schema.labels import Labels

sys.path.insert(0, str(Path(__file__).parent))
from whichbits.schema.step import Record
from whichbits.studies.steps.registry import summary_of
from whichbits.verdict import collect as collecting
from whichbits.verdict import scored_tasks
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.verdict import Verdict

MARGIN = 0.02
SPREAD = 0.02
BEGIN, END = "<!-- made by benchmarks/verdict/studies.py -->", "<!-- end of studies -->"


@dataclass(frozen=True)
class Candidate:
    """True recovery, share of the items gained, and queries over the base's."""

    recovery: float
    gained: float
    speed: float


CANDIDATES: Mapping[str, Candidate] = {
    "again": Candidate(1.0, 0.005, 1.0),
    "good": Candidate(1.0, 0.02, 1.2),
    "slow": Candidate(1.0, 0.01, 0.9),
    "margin": Candidate(1 - MARGIN, 0.02, 1.5),
    "worse": Candidate(1 - 2 * MARGIN, 0.02, 1.6),
    "bad": Candidate(0.8, 0.03, 1.7),
}
"""`again` is the base under another name; `margin` keeps exactly what the margin asks for."""


@dataclass(frozen=True)
class Task:
    """A task of a study."""

    name: str
    items: int
    right: float
    chance: float
    clustered: bool


class Study:
    """Records of a study, with their tables in memory."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tables: dict[str, dict[str, Any]] = {}
        self.records: list[Record] = []
        count = int(rng.integers(5, 9))
        self.tasks = [
            Task(
                f"task{n}",
                int(rng.choice([200, 500, 1000])),
                float(rng.uniform(0.45, 0.85)),
                0.25 * (n % 2),
                bool(rng.random() < 1 / 3),
            )
            for n in range(count)
        ]
        bases = [self._base(task) for task in self.tasks]
        for task, base in zip(self.tasks, bases, strict=True):
            self._evaluate("bf16", task, base)
        for name, candidate in CANDIDATES.items():
            lost = self._lost(candidate)
            for task, base in zip(self.tasks, bases, strict=True):
                self._evaluate(name, task, self._flipped(task, base, lost, candidate.gained))
            for repeat in range(3):
                self._serve(name, repeat, candidate.speed)
        for name in ("bf16", *CANDIDATES):
            self._record("probe", {"candidate": name, "engine": "vllm"}, {"status": "native", "kernel": "", "reason": None})

    def verdict(self) -> Verdict:
        """What `collect` and `decide` make of it."""
        with (
            patch.object(collecting, "read_columns", self._table),
            patch.object(scored_tasks, "read_columns", self._table),
        ):
            findings = collect(self.records, "bf16", {name: name for name in ("bf16", *CANDIDATES)})
        return decide(findings, study="simulated", model="none", margin=MARGIN)

    def _table(self, path: Path, columns: Sequence[str], former: Mapping[str, str] | None = None) -> pyarrow.Table:
        return pyarrow.table({name: self.tables[path.parent.name][name] for name in columns})

    def _lost(self, candidate: Candidate) -> float:
        """Share of right answers lost, the same in every task, with which the recovery is the true one."""
        right = sum(task.right for task in self.tasks)
        above = sum(task.right - task.chance for task in self.tasks)
        gained = candidate.gained * sum(1 - task.right for task in self.tasks)
        return (gained + (1 - candidate.recovery) * above) / right

    def _base(self, task: Task) -> np.ndarray:
        return (self.rng.random(task.items) < task.right).astype(np.float64)

    def _flipped(self, task: Task, base: np.ndarray, lost: float, gained: float) -> np.ndarray:
        rates = np.full(task.items, lost)
        if task.clustered:
            rates = np.repeat(self.rng.beta(9 * lost, 9 * (1 - lost), -(-task.items // 5)), 5)[: task.items]
        chosen = self.rng.random(task.items)
        return np.where(base > 0, chosen >= rates, chosen < gained).astype(np.float64)

    def _record(self, kind: str, labels: dict[str, str], summary: dict[str, Any], table: dict[str, Any] | None = None) -> None:
        key = f"{len(self.records)}"
        if table is not None:
            self.tables[key] = table
        labelled, found = Labels.model_validate(labels), summary_of(kind, summary)
        self.records.append(Record(key, kind, labelled, "done", Path(key), found))

    def _evaluate(self, candidate: str, task: Task, scores: np.ndarray) -> None:
        names = [f"{task.name}-{n}" for n in range(task.items)]
        table = {
            "item": names,
            "prompt_hash": names,
            "target_hash": names,
            "cluster": [f"document-{n // 5}" for n in range(task.items)] if task.clustered else names,
            "score": scores.tolist(),
        }
        summary = {
            "task": task.name, "kind": "generated", "metric": "acc", "n": task.items, "chance": task.chance, "concurrency": 16,
        }  # fmt: skip
        labels = {"candidate": candidate, "task": task.name, "engine": "vllm", "repeat": "0"}
        self._record("evaluate", labels, summary, table)

    def _serve(self, candidate: str, repeat: int, speed: float) -> None:
        load_levels: dict[str, list[dict[str, Any]]] = {"candidate": [], "base": []}
        columns: dict[str, list[np.ndarray]] = {}
        for concurrency, load_level in ((1, "synchronous"), (16, "concurrency 16")):
            for role, ratio in (("candidate", speed), ("base", 1.0)):
                count = 12 * concurrency
                mean = concurrency**0.5 / ratio * float(np.exp(self.rng.normal(0, SPREAD)))
                latency = mean * self.rng.normal(1, 0.02, count)
                rate = concurrency / float(latency.mean())
                metrics = {"requests_per_second": rate, "output_tokens_per_second": 32 * rate}
                load_levels[role].append(
                    {"load_level": load_level, "concurrency": concurrency, "valid": True, "reasons": [], "metrics": metrics}
                )
                own = {
                    "role": np.full(count, role, object), "load_level": np.full(count, load_level, object),
                    "ok": np.ones(count, bool), "start_s": np.arange(count) * mean,
                    "ttft_s": latency / 10, "itl_s": latency / 40, "tpot_s": latency / 40,
                    "latency_s": latency, "output_tokens": np.full(count, 32),
                }  # fmt: skip
                for name, values in own.items():
                    columns.setdefault(name, []).append(values)
        table = {name: list(np.concatenate(parts)) for name, parts in columns.items()}
        labels = {"candidate": candidate, "workload": "chat", "deployment": "here", "repeat": str(repeat)}
        self._record(
            "serve",
            labels,
            {"session": "one", "load_levels": load_levels["candidate"], "base_load_levels": load_levels["base"]},
            table,
        )


def tally(verdict: Verdict, counts: Counter[str]) -> None:
    """Add what one verdict says to the counts."""
    for entry in verdict.formats:
        if entry.candidate != verdict.base:
            counts[f"{entry.candidate} {entry.state}"] += 1
            counts[f"code {entry.reason.code}"] += 1
    for suite in verdict.suites:
        truth = 100 * CANDIDATES[suite.candidate].recovery
        counts["suites"] += 1
        counts["above"] += suite.recovery.low > truth
        counts["below"] += suite.recovery.high < truth
    for entry in verdict.recommendations:
        counts["answers"] += 1
        counts[f"deploy {entry.candidate}"] += 1


def rows(counts: Counter[str], studies: int) -> Iterator[str]:
    """The table."""

    def line(what: str, times: int, of: int) -> str:
        share = times / of
        return (
            f"| {what} | {times:,} of {of:,} | {100 * share:.1f} ± {200 * np.sqrt(max(share * (1 - share), 1 / of) / of):.1f} |"
        )

    yield "| in whole studies | times | % |"
    yield "|---|---|---|"
    held = counts["suites"] - counts["above"] - counts["below"]
    yield line("the interval of a suite holds its true recovery", held, counts["suites"])
    yield line("truth at the margin: non-inferior", counts["margin non-inferior"], studies)
    yield line("truth at the margin: inferior", counts["margin inferior"], studies)
    yield line("truth below the margin by as much again: non-inferior", counts["worse non-inferior"], studies)
    yield line("the base under another name: inferior", counts["again inferior"], studies)
    yield line("the base under another name: non-inferior", counts["again non-inferior"], studies)
    yield line("keeps all, 4 % of its answers changed: non-inferior", counts["good non-inferior"], studies)
    yield line("keeps 80 %: inferior", counts["bad inferior"], studies)
    wrong = sum(counts[f"deploy {name}"] for name in ("worse", "bad", "slow"))
    yield line("recommended though it keeps less than the margin, or is slower than the base", wrong, counts["answers"])
    yield line("recommended with the truth at the margin", counts["deploy margin"], counts["answers"])
    yield line("the best is recommended (keeps all, 1.2 times as fast)", counts["deploy good"], counts["answers"])


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, judge, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--first", type=int, default=0, help="number of the first study, for a part of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="file for the counts, to put tables of parts together")
    parser.add_argument("--load", type=Path, nargs="*", default=[], help="files of counts to add; with --studies 0 the whole")
    parser.add_argument("--write", type=Path, help="page to put the table into")
    arguments = parser.parse_args(argv)
    counts: Counter[str] = Counter()
    for part in arguments.load:
        counts.update(json.loads(part.read_text()))
    for number in range(arguments.first, arguments.first + arguments.studies):
        tally(Study(np.random.default_rng([arguments.seed, number])).verdict(), counts)
        counts["studies"] += 1
        if arguments.save and (number % 10 == 9 or number == arguments.first + arguments.studies - 1):
            arguments.save.write_text(json.dumps(counts))
    table = "\n".join(rows(counts, counts["studies"]))
    print(table)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
        arguments.write.write_text(f"{page[:before]}\n{table}\n{page[after:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
