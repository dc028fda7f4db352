"""Step `serve`: measure a candidate's speeds beside the base's, in one measurement session."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.core.text import read_bytes
from whichbits.schema.serve import (
    CapacityRun,
    ClientCeiling,
    EarlierRuns,
    ImportedServeInputs,
    LoadLevelSummary,
    NaturalLoad,
    ServeInputs,
    ServeLocal,
    ServeSummary,
)
from whichbits.schema.step import Step
from whichbits.schema.workload import NaturalOutput, Workload, longest
from whichbits.studies.steps.forecast import Ask
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.shared import imported_speeds
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.shared.job import trust_remote_code
from whichbits.studies.steps.shared.on_engine import trusted
from whichbits.studies.steps.shared.served import access_of
from whichbits.studies.steps.shared.session import Session, roles, round_order, session_inputs, session_local, session_step
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.schema.engine import EngineIdentity
    from whichbits.serving.opening import OnAbilities
    from whichbits.serving.result import LoadLevelResult
    from whichbits.serving.workload import LoadLevel
    from whichbits.studies.steps.study import Study
    from whichbits.studies.steps.subject import Subject


def workloads(study: Study) -> tuple[Workload, ...]:
    """Workloads of a study, each within the model's context."""
    from whichbits.serving.traffic.own_prompts import natural_prompts
    from whichbits.serving.traffic.resolve import with_lengths
    from whichbits.serving.workload import check_context, parse_workload

    found: list[Workload] = []
    for index, entry in enumerate(study.specification.workloads):
        try:
            if set(entry) == {"name"}:
                workload = parse_workload(str(entry["name"]))
            else:
                workload = parse_workload(with_lengths(entry, study.model.path, trust_remote_code=trusted(study)))
            natural_prompts(workload, study.model.path, trust_remote_code=trusted(study))
            check_context(workload, study.model.max_positions)
        except UserError as error:
            raise study.source.placed(("workloads", index), error) from error
        found.append(workload)
        study.source.refuse_twice(("workloads", index), "workload", [entry.name for entry in found])
    return tuple(found)


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each round, workload and candidate that is served; in further rounds for what they measure.

    So have speeds that another tool measured, a step for each of their rounds.
    """
    served = {subject.name: subject for subject in study.subjects if subject.served}
    for repeat in range(study.specification.rounds):
        for workload in study.workloads:
            for subject in served.values():
                yield _planned(study, subject, repeat, workload)
    for elsewhere in study.imported_speeds:
        yield from elsewhere.steps
    by_name = {workload.name: workload for workload in study.workloads}
    for further in study.further_rounds:
        workload = by_name[further.workload].at(further.loads)
        yield _planned(study, served[further.candidate], further.repeat, workload, further.earlier)


def _planned(study: Study, subject: Subject, repeat: int, workload: Workload, earlier: EarlierRuns | None = None) -> Planned:
    named, digest, path = requests_of(workload)
    inputs = session_inputs(study, subject, repeat, ServeInputs, workload=named, requests=digest, earlier=earlier)
    local = session_local(study, subject, ServeLocal, requests=path)
    return session_step(study, SERVE, subject, inputs, local, workload.name)


def seconds(step: Step, ask: Ask) -> float | None:
    """Seconds of a workload's loads; none where another tool has measured them."""
    if isinstance(step.inputs, ImportedServeInputs):
        return 0.0
    workload = located(step)
    parts = (closed_loop_seconds(workload, ask), capacity_seconds(workload, ask), natural_seconds(step, workload, ask))
    known = [part for part in parts if part is not None]
    return open_loop_seconds(workload) + sum(known) if len(known) == len(parts) else None


def requests_of(workload: Workload) -> tuple[Workload, str | None, Path | None]:
    """For a step's key: the workload with its file by name alone, and the file's SHA-256; and where the file is.

    So a study whose folder is moved keeps its results, and one whose log changes does not. The target rate changes no result.
    """
    measured, path = workload.model_copy(update={"target_rate": None}), workload.file
    if path is None:
        return measured, None, None
    return measured.with_file(Path(path.name)), _sha256(path), path.absolute()


def located(step: Step) -> Workload:
    """The workload of a step with its log or prompts where they are on this machine.

    Raises UserError where their file is not what was planned with.
    """
    inputs, path = step.inputs_as(ServeInputs), step.local_as(ServeLocal).requests
    if path is not None and _sha256(path) != inputs.requests:
        raise UserError(f"{path} has changed since the study was planned", remedy="run the command again")
    return inputs.workload.with_file(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(path, str(path))).hexdigest()


def open_loop_seconds(workload: Workload) -> float:
    """Of its load levels of arrivals, until about the last of them."""
    from whichbits.serving.traffic.resolve import recorded
    from whichbits.serving.workload import open_loads

    levels = open_loads(workload, recorded(workload))
    return sum(_requests(level) / level.rate for level in levels if level.rate is not None)


def capacity_seconds(workload: Workload, ask: Ask) -> float | None:
    """Of the runs that look for the highest rate within the limits, as if at the throughput of the largest stated load."""
    from whichbits.serving.run_length import requests_of, warmup_of

    if workload.capacity is None or workload.slo is None:
        return 0.0
    largest = max(workload.concurrency, default=1) if isinstance(workload.concurrency, tuple) else 1
    (rate,) = ask(workload.mean_prompt_tokens, workload.mean_output_tokens, [largest])
    requests = requests_of(workload.capacity, workload.slo)
    return None if rate is None else workload.capacity.runs * (requests + warmup_of(requests)) / rate


def natural_seconds(step: Step, workload: Workload, ask: Ask) -> float | None:
    """Of the prompts whose answers end by themselves, as if each were as long as it may be."""
    from whichbits.serving.traffic.own_prompts import natural_prompts

    if workload.natural_output is None:
        return 0.0
    local, streams = step.local_as(ServeLocal), workload.natural_output.concurrency
    prompts = natural_prompts(workload, local.tokenizer, trust_remote_code=local.trust_remote_code)
    (rate,) = ask(workload.mean_prompt_tokens, longest(workload.output_tokens), [streams])
    return None if rate is None else (len(prompts) + streams) / rate


def closed_loop_seconds(workload: Workload, ask: Ask) -> float | None:
    """Of each number of requests in flight, a warm-up included; None where their rate is not known."""
    from whichbits.serving.measure import HIGHEST_CONCURRENCY
    from whichbits.serving.saturation import saturated
    from whichbits.serving.workload import at_concurrency

    if workload.concurrency == "auto":
        doubled = [2**step for step in range(HIGHEST_CONCURRENCY.bit_length())]
        load_levels = [at_concurrency(workload, n) for n in doubled if n > 1 or workload.synchronous]
    else:
        load_levels = [at_concurrency(workload, n) for n in (*((1,) if workload.synchronous else ()), *workload.concurrency)]
    in_flight = [level.concurrency or 1 for level in load_levels]
    rates = ask(workload.mean_prompt_tokens, workload.mean_output_tokens, in_flight)
    total, seen = 0.0, list[float]()
    for level, rate in zip(load_levels, rates, strict=True):
        if rate is None:
            return None
        if workload.concurrency == "auto" and saturated(seen):
            break
        seen.append(rate)
        total += _requests(level) / rate
    return total


def _requests(level: LoadLevel) -> int:
    return level.warmup + level.requests


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result | Exception]]:
    """Measure speeds in one session: round by round, the candidates of a round one after another, the base among them.

    The first round of a workload settles the loads of an `auto` sweep for all that follow. Where candidates have loads of
    their own, the base is measured at all of them. A step holds the base's measurement of its own round too, so that their
    ratio is taken within the session. What fails for one candidate leaves the others' measurements as they are. Of speeds that
    another tool measured, which are run by themselves, the files are read.
    """
    from whichbits.serving.ceiling import client_ceiling
    from whichbits.serving.rounds import fixed, measure_round

    if imported_speeds.together(jobs[0].step) is not None:
        yield from imported_speeds.run(jobs)
        return
    session = Session.of(jobs, context)
    context.progress("how much its load client can read")
    ceiling = client_ceiling(set(jobs[0].cpus) if jobs[0].cpus is not None else None)
    rounds: dict[tuple[int, str], list[Job]] = {}
    for job in jobs:
        rounds.setdefault((job.step.labels.repeat, job.step.inputs_as(ServeInputs).workload.name), []).append(job)
    settled: dict[str, Workload] = {}
    seeking: dict[tuple[str, str], list[CapacityRun]] = {}
    natural: dict[tuple[int, str, str], NaturalLoad] = {}
    for (repeat, workload_name), group in rounds.items():
        first = group[0]
        names = round_order(group)
        workloads = _workloads(group, settled)
        earlier = _earlier(group)

        def of_round(
            name: str,
            workload: Workload,
            at_least: int,
            job: Job = first,
            repeat: int = repeat,
            earlier: Mapping[str, Sequence[CapacityRun]] = earlier,
        ) -> list[LoadLevelResult] | Exception:
            context.progress(f"round {repeat + 1}: {name}")
            runs = seeking.setdefault((name, workload.name), list(earlier.get(name, ())))
            measured = session.measured(
                name, job, lambda who: _measured(who, job, workload, at_least, runs, session.says(name))
            )
            if isinstance(measured, Exception):
                return measured
            runs += [run for level in measured if (run := level.capacity_run) is not None]
            if (output := workload.natural_output) is not None:
                found = session.measured(name, job, lambda who: _natural(who, job, workload, output))
                if isinstance(found, Exception):
                    return found
                natural[repeat, workload.name, name] = found
            return measured

        measured = measure_round({name: workloads[name] for name in names}, of_round)
        session.compare_weights(measured, first)
        for job in group:
            loads = _loads(job)
            settled[loads] = fixed(settled[loads], measured)
        ended = {name: natural.get((repeat, workload_name, name)) for name in names}
        for job in group:
            yield job, _paired(job, measured, ended, names, session, ceiling)


def _loads(job: Job) -> str:
    """What tells the workload of a step, with its loads, from others."""
    return job.step.inputs_as(ServeInputs).workload.model_dump_json()


def _workloads(group: Sequence[Job], settled: dict[str, Workload]) -> dict[str, Workload]:
    """What each is measured under in a round, by name: a candidate at its own loads, and the base at all of them."""
    found: dict[str, Workload] = {}
    for job in group:
        if (loads := _loads(job)) not in settled:
            settled[loads] = located(job.step)
        found[roles(job)["candidate"]] = settled[loads]
    base = roles(group[0])["base"]
    return {**found, base: reduce(Workload.together, found.values())}


def _earlier(group: Sequence[Job]) -> dict[str, Sequence[CapacityRun]]:
    """The runs from which the searches of a further round go on, by name."""
    found: dict[str, Sequence[CapacityRun]] = {}
    for job in group:
        if (earlier := job.step.inputs_as(ServeInputs).earlier) is not None:
            named = roles(job)
            found |= {named["base"]: earlier.base, named["candidate"]: earlier.candidate}
    return found


def _measured(
    who: EngineIdentity,
    job: Job,
    workload: Workload,
    at_least: int,
    earlier: Sequence[CapacityRun],
    on_abilities: OnAbilities,
) -> list[LoadLevelResult]:
    """Load levels of the candidate that is served. Raises EngineError where no request was answered."""
    from whichbits.engines.errors import EngineError
    from whichbits.serving.measure import measure, no_answer

    results = measure(
        who.address,
        who.model,
        job.step.local_as(ServeLocal).tokenizer,
        workload,
        seed=job.step.inputs_as(ServeInputs).seed,
        cpus=set(job.cpus) if job.cpus is not None else None,
        at_least=at_least,
        earlier=earlier,
        on_abilities=on_abilities,
        access=access_of(job),
        trust_remote_code=trust_remote_code(job),
    )
    if (words := no_answer(results)) is not None:
        raise EngineError(words)
    return results


def _natural(who: EngineIdentity, job: Job, workload: Workload, natural: NaturalOutput) -> NaturalLoad:
    """The load of the candidate that is served whose answers end by themselves."""
    from whichbits.serving.natural_output import measure_natural

    return measure_natural(
        who.address,
        who.model,
        job.step.local_as(ServeLocal).tokenizer,
        workload,
        natural,
        cpus=set(job.cpus) if job.cpus is not None else None,
        access=access_of(job),
        trust_remote_code=trust_remote_code(job),
    )


def _paired(
    job: Job,
    measured: Mapping[str, list[LoadLevelResult] | Exception],
    natural: Mapping[str, NaturalLoad | None],
    order: Sequence[str],
    session: Session,
    ceiling: ClientCeiling | None,
) -> Result | Exception:
    """A step's result: its candidate's load levels with the base's of the same round, and the order of measuring."""
    from whichbits.serving.machine import energy_metrics
    from whichbits.serving.metrics.registry import all_metrics, packages

    rows: list[dict[str, str | float | None]] = []
    levels: dict[str, tuple[LoadLevelSummary, ...]] = {}
    for role, name in roles(job).items():
        results = measured[name]
        if isinstance(results, Exception):
            return results
        levels[role] = tuple(level.level() for level in results)
        for level in results:
            rows += level.table(role)
    write_items(job.directory, rows)
    summary = ServeSummary(
        session=session.name,
        order=tuple(order),
        load_levels=levels["candidate"],
        base_load_levels=levels["base"],
        metrics=(*(metric.described for metric in all_metrics()), *energy_metrics([*levels["candidate"], *levels["base"]])),
        natural=natural[roles(job)["candidate"]],
        base_natural=natural[roles(job)["base"]],
        weights=session.weights(job),
        client_ceiling=ceiling,
    )
    return Result(summary, session.provenance(job, packages() or None))


BEFORE_DESCRIBED = ("requests_per_second", "output_tokens_per_second", "latency_s", "ttft_s", "itl_s", "tpot_s")
"""The metrics that there were when summaries did not say which."""

LEVELS = ("load_levels", "base_load_levels", "rungs", "base_rungs")
"""Where load levels stand in a summary, by today's names and by those of before."""


def former(summary: Any) -> Any:
    """A summary from before load levels said how requests arrived, or from before metrics were described in it."""
    if not isinstance(summary, dict):
        return summary
    levels = {key: summary[key] for key in LEVELS if isinstance(summary.get(key), list)}
    found = {**summary, **{key: [_with_arrivals(level) for level in each] for key, each in levels.items()}}
    if found.get("metrics"):
        return found
    from whichbits.serving.metrics.registry import METRICS

    return {**found, "metrics": [METRICS.get(key).described.model_dump() for key in BEFORE_DESCRIBED]}


def _with_arrivals(level: Any) -> Any:
    """A load level from when its name alone said how its requests arrived."""
    if not isinstance(level, dict) or "arrivals" in level:
        return level
    name = str(level.get("load_level", level.get("rung")))
    kinds = {"rate": "rate", "capacity run": "rate", "ramp": "ramp", "trace": "trace"}
    return {**level, "arrivals": next((kind for beginning, kind in kinds.items() if name.startswith(beginning)), None)}


SERVE = Kind(
    "serve",
    version=5,
    plan=plan,
    run=run,
    seconds=seconds,
    former=former,
    together=imported_speeds.together,
)
