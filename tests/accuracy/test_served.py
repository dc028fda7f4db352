"""Scores over a real server against lm-evaluation-harness's own `local-completions`, same server, same concurrency."""

from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.registry import task_kind
from whichbits.accuracy.registry import task
from whichbits.accuracy.task import Task

CONCURRENCY = 8
NAMES = ("recall", "order", "choice")
LIMIT = 8


def harness_tasks(task: Task, *, seed: int, data_dir: Path | None = None) -> dict:
    return task_kind(task.kind).harness_tasks(task, seed=seed, data_dir=data_dir)


@pytest.mark.server
def test_items_equal_those_of_local_completions(embedded_model: Path, vllm_server) -> None:
    from lm_eval.evaluator import evaluate as run
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    from whichbits.engines.http.endpoint import Endpoint

    theirs = LocalCompletionsAPI(
        base_url=f"{vllm_server.url}/v1/completions",
        model=vllm_server.model,
        tokenizer=str(embedded_model),
        tokenized_requests=True,
        num_concurrent=CONCURRENCY,
        max_length=1024,
        batch_size=1,
    )
    tasks = {name: harness_tasks(task(name), seed=0)[name] for name in NAMES}
    samples = run(lm=theirs, task_dict={"tasks": tasks}, limit=LIMIT, bootstrap_iters=0)["samples"]
    with Endpoint(vllm_server.url, vllm_server.model, max_length=1024, concurrency=CONCURRENCY) as ours:
        for name in NAMES:
            result = evaluate(task(name), ours, embedded_model, limit=LIMIT)
            metric = task(name).metric
            assert [item.item for item in result.items] == [sample["doc_hash"] for sample in samples[name]]
            assert [item.prompt_hash for item in result.items] == [sample["prompt_hash"] for sample in samples[name]]
            assert [item.score for item in result.items] == [float(sample[metric]) for sample in samples[name]]
            assert 0.1 < result.summary.score < 1
