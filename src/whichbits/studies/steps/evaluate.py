"""Step `evaluate`: score a checkpoint on a task, item by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from whichbits.studies.steps.items import write_items
from whichbits.studies.steps.job import custom_code
from whichbits.studies.steps.provenance import provenance, stated
from whichbits.studies.steps.served import model_of, served_by, served_weights, token_counts
from whichbits.studies.steps.step import Job, Kind, Result, StepContext


def run(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    """Score a checkpoint on a task, item by item."""
    from whichbits.accuracy.evaluate import evaluate as evaluate_task
    from whichbits.accuracy.task import Task

    for job in jobs:
        inputs = job.cell.inputs
        data_dir = job.cell.places.get("data_dir")
        with ExitStack() as stack:
            model = model_of(job, context, stack)
            weights = served_weights(job, model)
            result = evaluate_task(
                Task.model_validate({**inputs["task"], "source": job.cell.places.get("source", inputs["task"]["source"])}),
                model,
                Path(job.cell.places["tokenizer"]),
                limit=inputs["limit"],
                seed=inputs["seed"],
                data_dir=Path(data_dir) if data_dir else None,
                allow_custom_code=custom_code(job),
            )
        write_items(job.directory, result.rows())
        summary = {**result.summary, "concurrency": inputs["engine"].get("concurrency"), **stated("weights", weights)}
        counts = token_counts(model)
        more = {"seed": inputs["seed"], "token_counts": counts, **stated("server", served_by(job, context))}
        yield job, Result(summary, provenance(job, engine=inputs["engine"], **more))


EVALUATE = Kind(
    "evaluate",
    version=2,
    run=run,
    preload=(
        "torch",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.llama.modeling_llama",
        "lm_eval.evaluator",
        "whichbits.accuracy.adapter",
        "whichbits.engines.emulation.model",
    ),
)
