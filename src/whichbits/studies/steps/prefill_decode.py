"""Step `prefill_decode`: measure a candidate's prefill and decode apart, beside the base's, in one measurement session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from whichbits.schema.footprint import Footprint
from whichbits.schema.prefill_decode import (
    MeasuredBatches,
    PrefillDecode,
    PrefillDecodeInputs,
    PrefillDecodeSummary,
)
from whichbits.schema.session import SessionLocal
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.studies.steps.forecast import Ask
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.shared.job import trust_remote_code
from whichbits.studies.steps.shared.served import access_of
from whichbits.studies.steps.shared.session import Session, roles, round_order, session_inputs, session_local, session_step
from whichbits.studies.steps.step import Job, Kind, Result, StepContext

if TYPE_CHECKING:
    from whichbits.schema.engine import EngineIdentity
    from whichbits.serving.opening import OnAbilities
    from whichbits.studies.steps.study import Study


def settled(study: Study) -> PrefillDecode | None:
    """The batches of a study with their lengths, which follow from its workloads where they are not given.

    None where prefill and decode are not measured apart. Raises UserError where nothing says a length, or the model's context
    is too short.
    """
    batches = study.specification.prefill_decode
    if batches is None:
        return None
    place = ("prefill_decode",)
    lengths = {"prompt_tokens": batches.prompt_tokens, "context_tokens": batches.context_tokens}
    if not study.workloads and not any(lengths.values()):
        raise study.source.error(place, "has no lengths, and there is no workload to take them from", "give prompt_tokens")
    prompts = batches.prompt_tokens or _distinct(one.mean_prompt_tokens for one in study.workloads) or batches.context_tokens
    contexts = batches.context_tokens or _distinct(map(half_way, study.workloads)) or prompts
    found = batches.model_copy(update={"prompt_tokens": prompts, "context_tokens": contexts})
    if found.longest_request > study.model.max_positions:
        raise study.source.error(
            place,
            f"needs requests of {found.longest_request} tokens; the model's context holds {study.model.max_positions}",
            "leave the longest prompt or context out, or ask for fewer steps",
        )
    return found


def half_way(workload: Workload) -> int:
    """Tokens of prompt and output half-way through a workload's output."""
    return workload.mean_prompt_tokens + workload.mean_output_tokens // 2


def _distinct(lengths: Iterator[int]) -> tuple[int, ...]:
    return tuple(sorted(set(lengths)))


def plan(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    """A step for each round and candidate that is served."""
    batches = study.prefill_decode
    if batches is None:
        return
    for repeat in range(study.specification.rounds):
        for subject in study.subjects:
            if subject.served:
                local = session_local(study, subject, SessionLocal)
                inputs = session_inputs(study, subject, repeat, PrefillDecodeInputs, batches=batches)
                yield session_step(study, PREFILL_DECODE, subject, inputs, local)


def seconds(step: Step, ask: Ask) -> float | None:
    """Seconds of all batches, their warm-up included; None where the rate of one is not known."""
    batches, total = step.inputs_as(PrefillDecodeInputs).batches, 0.0
    for point in batches.points():
        (rate,) = ask(*batches.lengths(point), [point.batch_size])
        if rate is None:
            return None
        total += (batches.repeats + 1) * point.batch_size / rate
    return total


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result | Exception]]:
    """Measure batches in one session: round by round, the candidates of a round one after another, the base among them."""
    session = Session.of(jobs, context)
    rounds: dict[int, list[Job]] = {}
    for job in jobs:
        rounds.setdefault(job.step.labels.repeat, []).append(job)
    for repeat, group in rounds.items():
        names, first = round_order(group), group[0]
        measured: dict[str, list[MeasuredBatches] | Exception] = {}
        footprints: dict[str, Footprint] = {}
        for name in names:
            context.progress(f"round {repeat + 1}: {name}")
            measured[name] = session.measured(name, first, partial(_measured, first, session.says(name)))
            if not isinstance(measured[name], Exception):
                taken = session.measured(name, first, partial(_footprint, first))
                if isinstance(taken, Footprint):
                    footprints[name] = taken
        session.compare_weights(measured, first)
        for job in group:
            yield job, _paired(job, measured, footprints, names, session)


def _measured(job: Job, on_abilities: OnAbilities, who: EngineIdentity) -> list[MeasuredBatches]:
    """The batches of the candidate that is served. Raises EngineError where none was answered."""
    from whichbits.engines.errors import EngineError
    from whichbits.serving.prefill_decode import measure_batches

    inputs = job.step.inputs_as(PrefillDecodeInputs)
    found = measure_batches(
        who.address,
        who.model,
        job.step.local_as(SessionLocal).tokenizer,
        inputs.batches,
        seed=inputs.seed,
        cpus=set(job.cpus) if job.cpus is not None else None,
        access=access_of(job),
        trust_remote_code=trust_remote_code(job),
        on_abilities=on_abilities,
    )
    if not any(one.seconds for one in found):
        raise EngineError(f"the server answered no batch: {found[0].reasons[0]}")
    return found


def _footprint(job: Job, who: EngineIdentity) -> Footprint:
    """What the server takes, now that it has served."""
    from whichbits.engines.http.connection import Connection
    from whichbits.engines.vllm.footprint import footprint

    return footprint(Connection(who.address, who.model, access_of(job)))


def _paired(
    job: Job,
    measured: Mapping[str, list[MeasuredBatches] | Exception],
    footprints: Mapping[str, Footprint],
    order: Sequence[str],
    session: Session,
) -> Result | Exception:
    """A step's result: its candidate's batches with the base's of the same round."""
    found: dict[str, tuple[MeasuredBatches, ...]] = {}
    for role, name in roles(job).items():
        results = measured[name]
        if isinstance(results, Exception):
            return results
        found[role] = tuple(results)
    summary = PrefillDecodeSummary(
        session=session.name,
        order=tuple(order),
        batches=found["candidate"],
        base_batches=found["base"],
        footprint=footprints.get(roles(job)["candidate"]),
        base_footprint=footprints.get(roles(job)["base"]),
        weights=session.weights(job),
    )
    return Result(summary, session.provenance(job))


PREFILL_DECODE = Kind("prefill_decode", version=1, plan=plan, run=run, seconds=seconds)
