"""From findings to the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.verdict.accuracy import Suite, emulation_error, suites, task_recovery
from whichbits.verdict.arrivals import arrivals_findings
from whichbits.verdict.capacity import capacity_findings
from whichbits.verdict.caveat_codes import Remark, SeveralLooks, StoppedEarly
from whichbits.verdict.caveats import caveats
from whichbits.verdict.crossover import crossovers
from whichbits.verdict.early_stopping.looked import Looking
from whichbits.verdict.findings import Findings
from whichbits.verdict.guideline import guideline
from whichbits.verdict.looks import level_of_looks
from whichbits.verdict.natural_output import natural_findings
from whichbits.verdict.non_inferiority import bound_of, deciding_suite, decision_on
from whichbits.verdict.plausibility import implausible_losses
from whichbits.verdict.prefill_decode import batch_findings, footprint_findings, latency_parts
from whichbits.verdict.recommend import recommendations
from whichbits.verdict.serving_options import serving_options, speed_problem
from whichbits.verdict.similarity import similarity_finding
from whichbits.verdict.speed import loads, speed_findings
from whichbits.verdict.speed_caveats import speed_caveats
from whichbits.verdict.thinking import mode_recoveries, mode_results
from whichbits.verdict.verdict import Decision, SizeFinding, Verdict


def decide(
    findings: Findings,
    *,
    study: str,
    model: str,
    margin: float = 0.01,
    level: float = 0.95,
    looks: Sequence[int] = (),
    early_stopping: EarlyStoppingPlan | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Verdict:
    """Decide on every format and recommend one for each workload.

    `margin` is the largest loss of the suite's score above chance that counts as none, `level` the confidence of every
    interval, `looks` the rounds after which speeds were looked at, where there is more than one look. With `early_stopping`,
    candidates stopped at different looks, and the intervals of their accuracy are those of their look: they hold together with
    those of all looks. `notes` are what the reader must know of the model (they open the caveats), `seed` is that of
    similarity's bootstrap: the same findings give the same verdict, to the last digit.

    Raises ValueError where `margin` or `level` is not between 0 and 1.
    """
    for name, value in (("margin", margin), ("level", level)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, must be between 0 and 1")
    speed_level = level_of_looks(level, looks)
    looking = None if early_stopping is None else Looking(early_stopping, findings.tasks, level=level)
    look_levels = looking.levels() if looking is not None else {}
    formed = suites(findings, level=level, look_levels=look_levels)
    names = tuple(dict.fromkeys((findings.base, *findings.formats)))
    deciding = {name: entry for name in findings.candidates if (entry := deciding_suite(findings, name, formed)) is not None}
    decisions = [
        _with_look(decision_on(findings, name, formed, margin=margin, level=level), deciding.get(name), looking, margin)
        for name in names
    ]
    by_name = {decision.candidate: decision for decision in decisions}
    measured = loads(findings)
    batches = batch_findings(findings, level=speed_level)
    all_options = serving_options(findings, measured, level=speed_level)
    capacities = tuple(capacity_findings(findings, level=speed_level))
    recommended, refused = recommendations(findings, all_options, by_name, capacities, margin=margin, level=speed_level)
    emulation = tuple(emulation_error(scored, level=level) for scored in findings.emulation)
    p_values = {name: entry.recovery.p_below(bound_of(margin)) for name, entry in deciding.items()}
    if looking is not None:
        p_values = {name: looking.p_value(name, p) for name, p in p_values.items()}
    implausible = tuple(implausible_losses(findings.formats, deciding))
    return Verdict(
        study=study,
        model=model,
        base=findings.base,
        margin=margin,
        level=level,
        caveats=(
            *(Remark(text=note) for note in notes),
            *caveats(findings, decisions, deciding, emulation, implausible, p_values, level=level),
            *speed_caveats(findings, measured, all_options, level=speed_level),
            *([SeveralLooks(rounds=tuple(looks), level=level)] if len(looks) > 1 else []),
            *([] if looking is None else [_stopped_early(looking, findings.base, level)]),
        ),
        formats=tuple(decisions),
        recommendations=recommended,
        not_recommended=refused,
        tasks=tuple(
            task_recovery(scored, level=level, look_level=look_levels.get(scored.candidate)) for scored in findings.tasks
        ),
        suites=tuple(entry.finding for entry in formed),
        implausible=implausible,
        served_weights=findings.served_weights,
        emulation=emulation,
        modes=mode_recoveries(formed, (entry.mode for entry in findings.replied), level=level, look_levels=look_levels),
        thinking=mode_results(findings, level=level, seed=seed, look_levels=look_levels),
        reply_measures=findings.reply_measures,
        judged=findings.judged,
        similarity=tuple(similarity_finding(sample, level=level, seed=seed) for sample in findings.similarity),
        measures=findings.measures,
        client_ceiling=findings.client_ceiling,
        metrics=findings.metrics,
        speed=tuple(
            finding
            for load in measured
            for finding in speed_findings(load, speed_problem(findings, load.candidate, load.deployment), level=speed_level)
        ),
        capacity=capacities,
        arrivals=tuple(arrivals_findings(findings, measured, level=speed_level)),
        batches=batches,
        footprints=tuple(footprint_findings(findings)),
        latency_parts=tuple(latency_parts(findings, batches, measured, level=speed_level)),
        crossovers=tuple(crossovers(findings, measured, level=speed_level)),
        natural=tuple(natural_findings(findings, level=speed_level, seed=seed)),
        cost=tuple(option.cost for place in all_options for option in place.options),
        sizes=_sizes(findings),
        guideline=guideline(recommended),
        failures=findings.failures,
    )


def _with_look(decision: Decision, entry: Suite | None, looking: Looking | None, margin: float) -> Decision:
    """The decision with the look that it was made at."""
    if looking is None:
        return decision
    found = looking.looked(decision, None if entry is None else entry.recovery, bound_of(margin))
    # More items than the study was willing to ask are no way to a decision.
    extension = None if found is not None and found.stop == "futile" else decision.extension
    return decision.model_copy(update={"looked": found, "extension": extension})


def _stopped_early(looking: Looking, base: str, level: float) -> StoppedEarly:
    items, all_items = looking.items(base)
    return StoppedEarly(
        method=looking.plan.method,
        looks=len(looking.plan.looks),
        items=items,
        all_items=all_items,
        candidates=len(set(looking.plan.reached) - {base}),
        level=level,
    )


def _sizes(findings: Findings) -> tuple[SizeFinding, ...]:
    """Sizes relative to the base's; none where the base's is not known."""
    base = next((size.bytes for size in findings.sizes if size.candidate == findings.base), None)
    if base is None:
        return ()
    return tuple(
        SizeFinding(
            candidate=size.candidate,
            bytes=size.bytes,
            ratio=size.bytes / base,
            bits_per_weight=size.bits_per_weight,
            steps=size.steps,
        )
        for size in findings.sizes
    )
