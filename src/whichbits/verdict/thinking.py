"""Thinking modes: what each keeps of the base, and what replies are like in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from whichbits.schema.thinking import without_mode
from whichbits.verdict.accuracy import Suite, near_chance, task_recovery
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.findings import Findings, RepliedTask
from whichbits.verdict.paired import Paired
from whichbits.verdict.recovery import paired_difference, recovery
from whichbits.verdict.resampling import ratio_of_sums
from whichbits.verdict.statistics import FloatArray, cluster_sums
from whichbits.verdict.verdict import ModeRecovery, ModeResult, ReplyFigure

SHARE = "%"
"""Unit of measures that are shares."""


def mode_recoveries(
    formed: Sequence[Suite], modes: Iterable[str], *, level: float, look_levels: Mapping[str, float]
) -> tuple[ModeRecovery, ...]:
    """Recovery of each candidate over its tasks in each of the `modes`.

    A suite has the tasks on which the base is above chance. Where the base itself could be at chance on those of a mode, there
    is no recovery. `look_levels` are by candidate, where results are looked at several times.
    """
    modes, found = tuple(modes), []
    for entry in formed:
        for mode in dict.fromkeys(modes):
            tasks = [scored for scored in entry.tasks if scored.mode == mode]
            if not tasks:
                continue
            look_level = look_levels.get(entry.finding.candidate)
            kept = recovery([scored.pair for scored in tasks], level=level, look_level=look_level)
            found.append(
                ModeRecovery(
                    candidate=entry.finding.candidate,
                    mode=mode,
                    engine=entry.finding.engine,
                    provenance=entry.finding.provenance,
                    items=sum(scored.pair.items for scored in tasks),
                    tasks=tuple(scored.task for scored in tasks),
                    recovery=kept.estimate if kept.is_bounded else None,
                    steps=tuple(dict.fromkeys(key for scored in tasks for key in scored.steps)),
                )
            )
    return tuple(found)


def mode_results(findings: Findings, *, level: float, seed: int, look_levels: Mapping[str, float]) -> tuple[ModeResult, ...]:
    """Score, replies and time of every checkpoint on every task in every mode, in the study's order; the base's among them.

    `look_levels` are as for `mode_recoveries`, and hold for recoveries alone. What replies are like is compared on the items
    that a candidate has answered.
    """
    units = {measure.key: measure.unit for measure in findings.reply_measures}
    scored = {(entry.candidate, entry.task, entry.engine): entry for entry in findings.tasks}
    by_place = {(entry.candidate, entry.task, entry.engine): entry for entry in findings.replied}
    found = []
    for replied in findings.replied:
        base = None if replied.candidate == findings.base else by_place.get((findings.base, replied.task, replied.engine))
        pair = scored.get((replied.candidate, replied.task, replied.engine))
        look_level = look_levels.get(replied.candidate)
        kept = task_recovery(pair, level=level, look_level=look_level) if pair and near_chance([pair]) is None else None
        of_base = None if base is None else base.among(replied.items)
        found.append(
            ModeResult(
                candidate=replied.candidate,
                task=without_mode(replied.task, replied.mode),
                mode=replied.mode,
                engine=replied.engine,
                provenance=replied.provenance,
                items=len(replied.cluster),
                replies=replied.replies,
                score=replied.score,
                recovery=kept.recovery if kept is not None else None,
                figures=tuple(
                    figure
                    for key, unit in units.items()
                    if (figure := _figure(key, unit, replied, of_base, level=level, seed=seed)) is not None
                ),
                seconds=replied.seconds,
                concurrency=replied.concurrency,
                steps=replied.steps if base is None else (*replied.steps, *base.steps),
            )
        )
    return tuple(found)


def _figure(
    key: str, unit: str, replied: RepliedTask, base: RepliedTask | None, *, level: float, seed: int
) -> ReplyFigure | None:
    """A measure's mean and its change from the base; None where fewer than two items, or clusters, have it.

    The change is paired item by item. A share's interval is that of scores (see `recovery.paired_difference`), any other a
    bootstrap over items, or clusters of them.
    """
    own = replied.values.get(key)
    if own is None:
        return None
    known = np.isfinite(own)
    estimate = _mean(own, known, replied.cluster, level=level, seed=seed)
    if estimate is None:
        return None
    theirs = None if base is None else base.values.get(key)
    change = None
    if theirs is not None:
        both = known & np.isfinite(theirs)
        if unit == SHARE and both.all():
            pair = Paired(theirs, own, cluster=replied.cluster)
            change = paired_difference(pair, level=level) if len(pair.cluster_sizes) > 1 else None
        else:
            change = _mean(own - theirs, both, replied.cluster, level=level, seed=seed)
    return ReplyFigure(measure=key, estimate=estimate, change=change)


def _mean(
    values: FloatArray, known: NDArray[np.bool_], cluster: NDArray[np.intp], *, level: float, seed: int
) -> Estimate | None:
    """Mean of the `known` values with its interval over clusters; None where there are fewer than two."""
    kept = values[known]
    sums = cluster_sums(np.column_stack([kept, np.ones(len(kept))]), cluster[known]) if len(kept) else kept
    if len(sums) < 2:
        return None
    return ratio_of_sums(sums[:, 0], sums[:, 1], level=level, seed=seed)
