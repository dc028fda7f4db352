"""Step `serve`: measure a candidate's speeds beside the base's, in one measurement session."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.core.text import read_bytes
from whichbits.schema.labels import Labels
from whichbits.schema.serve import (
    CapacityRun,
    Devices,
    LoadLevelSummary,
    ServeInputs,
    ServeLocal,
    Servers,
    ServeSummary,
    WeightsBehind,
)
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload, mean
from whichbits.studies.steps.forecast import Ask
from whichbits.studies.steps.planned import Planned, keys, measurement
from whichbits.studies.steps.shared.items import write_items
from whichbits.studies.steps.shared.job import trust_remote_code
from whichbits.studies.steps.shared.on_engine import trusted
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.shared.served import agreement_of, api_key, references, server_of
from whichbits.studies.steps.step import Job, Kind, Result, ServerFailed, StepContext

if TYPE_CHECKING:
    from whichbits.schema.engine import EngineIdentity
    from whichbits.schema.served_weights import Agreement
    from whichbits.serving.result import LoadLevelResult
    from whichbits.serving.workload import LoadLevel
    from whichbits.studies.steps.study import Study


def workloads(study: Study) -> tuple[Workload, ...]:
    """Workloads of a study, each within the model's context."""
    from whichbits.serving.traffic.resolve import with_lengths
    from whichbits.serving.workload import check_context, parse_workload

    found: list[Workload] = []
    for index, entry in enumerate(study.specification.workloads):
        try:
            if set(entry) == {"name"}:
                workload = parse_workload(str(entry["name"]))
            else:
                workload = parse_workload(with_lengths(entry, study.model.path, trust_remote_code=trusted(study)))
            check_context(workload, study.model.max_positions)
        except UserError as error:
            raise study.source.placed(("workloads", index), error) from error
        found.append(workload)
        study.source.refuse_twice(("workloads", index), "workload", [entry.name for entry in found])
    return tuple(found)


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each round, workload and candidate that is served."""
    base = study.subjects[0]
    assert base.folder is not None, "the base is a folder"
    deployment = study.specification.deployment
    rounds = {workload.name: study.rounds_of(workload.name) for workload in study.workloads}
    for repeat in range(max(rounds.values(), default=0)):
        for workload in study.workloads:
            named, digest, path = requests_of(workload)
            for subject in study.subjects:
                if not subject.served or repeat >= rounds[workload.name]:
                    continue
                inputs = ServeInputs(
                    checkpoint=subject.checkpoint,
                    copies=subject.copies,
                    base=base.files,
                    workload=named,
                    requests=digest,
                    engine=study.serving,
                    servers=Servers(server=study.server_of(subject.name), base=study.server_of(base.name)),
                    hardware=study.hardware.key(),
                    deployment=Devices(hardware=deployment.hardware, count=deployment.count),
                    repeat=repeat,
                    seed=study.specification.seed + repeat,
                )
                labels = Labels(candidate=subject.name, workload=workload.name, deployment=deployment.name, repeat=repeat)
                local = ServeLocal(
                    checkpoint=subject.ready,
                    tokenizer=study.model.path,
                    trust_remote_code=trusted(study),
                    base=base.name,
                    base_checkpoint=base.folder,
                    requests=path,
                )
                step = Step("serve", SERVE.version, inputs, keys(subject.reads()), labels, local)
                yield Planned(step, measurement(*dict.fromkeys((base.name, subject.name))), subject.reads())


def seconds(step: Step, ask: Ask) -> float | None:
    """Seconds of a workload's loads."""
    workload = located(step)
    in_flight, seeking = closed_loop_seconds(workload, ask), capacity_seconds(workload, ask)
    return None if in_flight is None or seeking is None else in_flight + open_loop_seconds(workload) + seeking


def requests_of(workload: Workload) -> tuple[Workload, str | None, Path | None]:
    """For a step's key: the workload with its file by name alone, and the file's SHA-256; and where the file is.

    So a study whose folder is moved keeps its results, and one whose log changes does not.
    """
    path = workload.file
    if path is None:
        return workload, None, None
    return workload.with_file(Path(path.name)), _sha256(path), path.absolute()


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
    from whichbits.serving.capacity import requests_of, warmup_of

    if workload.capacity is None or workload.slo is None:
        return 0.0
    largest = max(workload.concurrency, default=1) if isinstance(workload.concurrency, tuple) else 1
    (rate,) = ask(mean(workload.prompt_tokens), mean(workload.output_tokens), [largest])
    requests = requests_of(workload.capacity, workload.slo)
    return None if rate is None else workload.capacity.runs * (requests + warmup_of(requests)) / rate


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
    rates = ask(workload.mean_prompt_tokens, mean(workload.output_tokens), in_flight)
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

    The first round of a workload settles the loads of an `auto` sweep for all that follow. A step holds the base's
    measurement of its own round too, so that their ratio is taken within the session. What fails for one candidate leaves the
    others' measurements as they are.
    """
    from whichbits.serving.rounds import fixed, measure_round, order

    session = uuid.uuid4().hex[:12]
    rounds: dict[tuple[int, str], list[Job]] = {}
    for job in jobs:
        rounds.setdefault((job.step.labels.repeat, str(job.step.labels.workload)), []).append(job)
    workloads: dict[str, Workload] = {}
    planned: dict[str, EngineIdentity | None] = {}
    for job in jobs:
        servers = job.step.inputs_as(ServeInputs).servers
        planned[job.step.local_as(ServeLocal).base] = servers.base
        planned[job.step.labels.candidate] = servers.server
    who: dict[str, EngineIdentity] = {}
    seeking: dict[tuple[str, str], list[CapacityRun]] = {}
    expected = references(jobs)
    weights: dict[str, Agreement] = {}
    for (repeat, workload_name), group in rounds.items():
        first = group[0]
        asked = {name for job in group for name in (job.step.local_as(ServeLocal).base, job.step.labels.candidate)}
        inputs = first.step.inputs_as(ServeInputs)
        names = order(sorted(asked), seed=inputs.seed - repeat, repeat=repeat)
        workload = workloads.get(workload_name) or located(first.step)

        def of_round(name: str, workload: Workload, at_least: int, job: Job = first) -> list[LoadLevelResult] | Exception:
            context.progress(f"round {job.step.labels.repeat + 1}: {name}")
            runs = seeking.setdefault((name, workload.name), [])
            measured = _measured(name, job, context, workload, at_least, planned, who, runs)
            if not isinstance(measured, Exception):
                runs += [run for level in measured if (run := level.capacity_run) is not None]
            return measured

        measured = measure_round(names, workload, of_round)
        for name in names:
            if name in expected and name not in weights and not isinstance(measured[name], Exception):
                weights[name] = agreement_of(who[name], first, expected[name])
        workloads[workload_name] = fixed(workload, measured)
        for job in group:
            yield job, _paired(job, measured, session, names, who, weights)


def _measured(
    name: str,
    job: Job,
    context: StepContext,
    workload: Workload,
    at_least: int,
    planned: Mapping[str, EngineIdentity | None],
    who: dict[str, EngineIdentity],
    earlier: Sequence[CapacityRun],
) -> list[LoadLevelResult] | Exception:
    """Load levels of one candidate, or why there are none; `who` is told who served it, which must be who is `planned`."""
    from whichbits.engines.errors import EngineError
    from whichbits.serving.measure import measure, no_answer

    try:
        url = context.server(name)
        who[name] = server_of(name, url, job, planned[name])
        results = measure(
            url,
            who[name].model,
            job.step.local_as(ServeLocal).tokenizer,
            workload,
            seed=job.step.inputs_as(ServeInputs).seed,
            cpus=set(job.cpus) if job.cpus is not None else None,
            at_least=at_least,
            earlier=earlier,
            api_key=api_key(job),
            trust_remote_code=trust_remote_code(job),
        )
        words = no_answer(results)
        return results if words is None else ServerFailed(f"{name} was not measured: {words}")
    except EngineError as error:
        return ServerFailed(f"{name} was not measured: {error}")
    except (ServerFailed, UserError, OSError) as error:
        return error


def _paired(
    job: Job,
    measured: Mapping[str, list[LoadLevelResult] | Exception],
    session: str,
    order: Sequence[str],
    who: Mapping[str, EngineIdentity],
    weights: Mapping[str, Agreement],
) -> Result | Exception:
    """A step's result: its candidate's load levels with the base's of the same round, and the order of measuring."""
    from whichbits.serving.metrics.registry import all_metrics, packages

    rows: list[dict[str, str | float | None]] = []
    levels: dict[str, tuple[LoadLevelSummary, ...]] = {}
    roles = {"base": job.step.local_as(ServeLocal).base, "candidate": job.step.labels.candidate}
    for role, name in roles.items():
        results = measured[name]
        if isinstance(results, Exception):
            return results
        levels[role] = tuple(level.level() for level in results)
        for level in results:
            rows += [
                {"role": role, "load_level": level.load_level, "concurrency": level.concurrency, **row.columns()}
                for row in level.rows
            ]
    write_items(job.directory, rows)
    summary = ServeSummary(
        session=session,
        order=tuple(order),
        load_levels=levels["candidate"],
        base_load_levels=levels["base"],
        metrics=tuple(metric.described for metric in all_metrics()),
        weights=WeightsBehind(candidate=weights[roles["candidate"]], base=weights[roles["base"]]) if weights else None,
    )
    inputs = job.step.inputs_as(ServeInputs)
    ran = provenance(
        job,
        engine=inputs.engine,
        session=session,
        seed=inputs.seed,
        servers={role: who[name] for role, name in roles.items()},
        packages=packages() or None,
        measured_at=time.time(),
    )
    return Result(summary, ran)


BEFORE_DESCRIBED = ("requests_per_second", "output_tokens_per_second", "latency_s", "ttft_s", "itl_s", "tpot_s")
"""The metrics that there were when summaries did not say which."""


def former(summary: Any) -> Any:
    """A summary from before metrics were described in it, with the metrics that there were."""
    if not isinstance(summary, dict) or summary.get("metrics"):
        return summary
    from whichbits.serving.metrics.registry import METRICS

    return {**summary, "metrics": [METRICS.get(key).described.model_dump() for key in BEFORE_DESCRIBED]}


SERVE = Kind(
    "serve",
    version=2,
    plan=plan,
    run=run,
    seconds=seconds,
    former=former,
)
