"""Accuracy findings: recovery by task and over the suite, the base's own noise, the emulation's own error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whichbits.verdict.findings import EMULATED, Findings, ScoredTask
from whichbits.verdict.reasons import Exclusion, NearChance, TaskNearChance, TaskSize, TooFew
from whichbits.verdict.recovery import Recovery, paired_difference, recovery
from whichbits.verdict.statistics import discordance
from whichbits.verdict.verdict import EmulationError, SuiteRecovery, TaskRecovery

LEAST_ABOVE_CHANCE = 0.05


def near_chance(tasks: Sequence[ScoredTask]) -> NearChance | None:
    """The tasks that are left out of the suite, since the base scores less than 5 points above chance; None without one."""
    found = tuple(
        TaskNearChance(task=scored.task, above_chance=scored.pair.base_above_chance)
        for scored in tasks
        if scored.pair.base_above_chance < LEAST_ABOVE_CHANCE
    )
    return NearChance(tasks=found, required=LEAST_ABOVE_CHANCE) if found else None


def too_few(tasks: Sequence[ScoredTask], *, unseen: float | None = None, besides: NearChance | None = None) -> TooFew:
    """What tasks have too few of: clusters, where any has some, else items."""
    clustered = [scored for scored in tasks if scored.pair.clustered]
    return TooFew(
        code="too_few_clusters" if clustered else "too_few_items",
        tasks=tuple(task_size(scored) for scored in clustered or tasks),
        unseen=unseen,
        near_chance=besides,
    )


def task_size(scored: ScoredTask) -> TaskSize:
    """The items and clusters of a task that were scored."""
    clusters = len(scored.pair.cluster_sizes) if scored.pair.clustered else None
    return TaskSize(task=scored.task, items=scored.pair.items, clusters=clusters)


def task_recovery(scored: ScoredTask, *, level: float, look_level: float | None = None) -> TaskRecovery:
    """What a candidate keeps on one task; `look_level` as for `recovery`."""
    pair = scored.pair
    difference = paired_difference(pair, level=level, look_level=look_level)
    excluded: Exclusion | None = near_chance([scored])
    kept = None
    if excluded is None:
        found = recovery([pair], level=level, look_level=look_level)
        excluded, kept = (None, found.estimate) if found.is_bounded else (too_few([scored]), None)
    return TaskRecovery(
        candidate=scored.candidate,
        task=scored.task,
        mode=scored.mode,
        engine=scored.engine,
        provenance=scored.provenance,
        items=pair.items,
        chance=pair.chance,
        base_score=float(pair.base.mean()),
        score=float(pair.score.mean()),
        difference=difference,
        recovery=kept,
        excluded=excluded,
        flips=discordance(pair.base, pair.score).flips,
        smallest_difference=(difference.high - difference.low) / 2,
        steps=scored.steps,
    )


@dataclass(frozen=True)
class Suite:
    """A suite's finding with what it was computed from, for the decision."""

    finding: SuiteRecovery
    recovery: Recovery
    tasks: tuple[ScoredTask, ...]

    @property
    def identical(self) -> bool:
        """Whether every single score equals the base's."""
        return all(np.array_equal(scored.pair.base, scored.pair.score) for scored in self.tasks)


def suite(findings: Findings, candidate: str, engine: str, *, level: float, look_level: float | None = None) -> Suite | None:
    """All tasks of a candidate in one engine on which the base is above chance; None where there are none."""
    tasks = tuple(
        sorted(
            (s for s in findings.tasks if (s.candidate, s.engine) == (candidate, engine) and near_chance([s]) is None),
            key=lambda s: s.task,
        )
    )
    if not tasks:
        return None
    kept = recovery([scored.pair for scored in tasks], level=level, look_level=look_level)
    if not kept.is_bounded:
        return None
    names = {scored.task for scored in tasks}
    floor = sorted((s for s in findings.noise if s.engine == engine and s.task in names), key=lambda s: s.task)
    on_floor = [s for s in tasks if s.task in {scored.task for scored in floor}]
    finding = SuiteRecovery(
        candidate=candidate,
        engine=engine,
        provenance=tasks[0].provenance,
        items=sum(scored.pair.items for scored in tasks),
        tasks=tuple(scored.task for scored in tasks),
        recovery=kept.estimate,
        smallest_difference=(kept.estimate.high - kept.estimate.low) / 2,
        unseen_loss=kept.unseen_loss,
        unseen_gain=kept.unseen_gain,
        flips=flip_share(tasks),
        noise_floor_flips=flip_share(floor) if floor else None,
        noise_floor_tasks=tuple(scored.task for scored in floor),
        flips_on_noise_floor_tasks=flip_share(on_floor) if floor else None,
        steps=tuple(dict.fromkeys(key for scored in tasks for key in scored.steps)),
    )
    return Suite(finding, kept, tasks)


def flip_share(tasks: Sequence[ScoredTask]) -> float:
    """Share of the items of several tasks whose correctness changed."""
    counts = [discordance(scored.pair.base, scored.pair.score) for scored in tasks]
    return sum(count.lost + count.gained for count in counts) / sum(count.items for count in counts)


def suites(findings: Findings, *, level: float, look_levels: Mapping[str, float] | None = None) -> tuple[Suite, ...]:
    """Every suite that can be formed, in the order of the study's candidates, served ones first.

    `look_levels` are by candidate, where results are looked at several times.
    """
    at = look_levels or {}
    engines = sorted({scored.engine for scored in findings.tasks}, key=lambda engine: (engine == EMULATED, engine))
    formed = [
        suite(findings, name, engine, level=level, look_level=at.get(name))
        for name in findings.candidates
        for engine in engines
    ]
    return tuple(entry for entry in formed if entry is not None)


def emulation_error(scored: ScoredTask, *, level: float) -> EmulationError:
    """Emulated score minus served score of one checkpoint, item by item."""
    pair = scored.pair
    return EmulationError(
        candidate=scored.candidate,
        task=scored.task,
        items=pair.items,
        difference=paired_difference(pair, level=level),
        disagreements=float(np.mean(pair.base != pair.score)),
        steps=scored.steps,
    )
