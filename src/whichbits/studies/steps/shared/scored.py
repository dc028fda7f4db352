"""A checkpoint's items of a task, or a shard of them: what `evaluate` and `evaluate_shard` have in common."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichbits.schema.engine import Emulation
from whichbits.schema.evaluate import EvaluateInputs, EvaluateLocal, EvaluateSummary, RepliedItem, SampledItem
from whichbits.schema.step import Items, Step
from whichbits.studies.steps.shared.items import read_items
from whichbits.studies.steps.shared.judge import judge_of
from whichbits.studies.steps.shared.provenance import provenance
from whichbits.studies.steps.shared.served import model_of, served_by, served_weights, token_counts, waited
from whichbits.studies.steps.step import TRANSFORMERS, Earlier, Job, StepContext

if TYPE_CHECKING:
    from whichbits.accuracy.earlier_items import Kept
    from whichbits.accuracy.result import TaskResult
    from whichbits.accuracy.task import Task
    from whichbits.schema.provenance import Provenance
    from whichbits.schema.served_weights import Agreement
    from whichbits.schema.shard import Shard

PRELOAD = (*TRANSFORMERS, "lm_eval.evaluator", "whichbits.accuracy.lm_eval_model", "whichbits.engines.emulation.model")
"""As of a `Kind`."""


@dataclass(frozen=True)
class Scored:
    """A task's result, and of what model."""

    result: TaskResult
    weights: Agreement | None
    """Of a server at an address."""
    provenance: Provenance
    waited_s: float
    """As in `Result`."""


def task_of(step: Step) -> Task:
    """The task of an evaluation as it was planned, on this machine."""
    local: EvaluateLocal[Task] = step.local_as(EvaluateLocal)
    return local.task


def scored(job: Job, context: StepContext, items: Items | None, shard: Shard | None = None) -> Scored:
    """Score the job's checkpoint on its task, with so many items, or with the shard's of them."""
    from whichbits.accuracy.evaluate import evaluate

    inputs, local = job.step.inputs_as(EvaluateInputs), job.step.local_as(EvaluateLocal)
    with ExitStack() as stack:
        task = task_of(job.step)
        model = model_of(job, context, stack)
        weights = served_weights(job, model)
        result = evaluate(
            task,
            model,
            local.tokenizer,
            limit=None if items == "all" else items,
            seed=inputs.seed,
            data_dir=local.data_dir,
            trust_remote_code=local.trust_remote_code,
            kept=_kept(job.earlier) if job.earlier else None,
            shard=shard,
            judge=judge_of(task, job.kept, context, stack),
        )
    ran = provenance(
        job,
        engine=inputs.engine,
        seed=inputs.seed,
        token_counts=token_counts(model),
        server=served_by(job, context),
        earlier_items=result.kept or None,
        earlier_seconds=job.earlier.seconds if job.earlier and result.kept else None,
    )
    return Scored(result, weights, ran, waited(model))


def summary_of(step: Step, result: TaskResult, weights: Agreement | None = None) -> EvaluateSummary:
    """The summary of an evaluation."""
    engine = step.inputs_as(EvaluateInputs).engine
    concurrency = None if isinstance(engine, Emulation) else engine.concurrency
    return result.summary.model_copy(update={"concurrency": concurrency, "weights": weights})


def _kept(earlier: Earlier) -> Kept | None:
    """What an earlier result found of its items, and the tokens that this took."""
    from whichbits.accuracy.earlier_items import kept

    assert isinstance(earlier.summary, EvaluateSummary), "a result of the same kind"
    row = SampledItem if earlier.summary.replies is None else RepliedItem
    return kept(earlier.items, earlier.summary, read_items(earlier.directory, row))
