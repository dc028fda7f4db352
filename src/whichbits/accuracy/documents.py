"""Documents that a kind of task makes or reads, as an lm-evaluation-harness task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from whichbits.accuracy.harness import HarnessTask
from whichbits.accuracy.score import Match, score
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError
from whichbits.core.regex import RegexTimeout

Document = dict[str, Any]
"""Either {prompt, target} or {prompt, choices, answer}, the answer an index; `cluster` where items depend on each other."""


def prompt_lengths(documents: Sequence[Document]) -> list[int]:
    """Characters of each request's prompt: one request for a free answer, one for each choice."""
    return [len(item["prompt"]) for item in documents for _ in item.get("choices") or (None,)]


def harness_task(task: Task, documents: Sequence[Document], *, place: Callable[[Document], str] | None = None) -> HarnessTask:
    """An lm-evaluation-harness task over `documents`, all of one form; prompt and answer are joined by one space.

    `place` says where a document's target was written, for an error.
    """
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    dataset = {"test": Dataset.from_list(list(documents))}
    config: dict[str, Any] = {
        "task": task.name,
        "custom_dataset": lambda **_: dataset,
        "test_split": "test",
        "doc_to_text": "prompt",
        "num_fewshot": 0,
        "metadata": {"version": task.version},
    }
    if "choices" in documents[0]:
        config |= {
            "output_type": "multiple_choice",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": task.metric, "aggregation": "mean", "higher_is_better": True}],
        }
    else:
        config |= {
            "output_type": "generate_until",
            "doc_to_target": "target",
            "generation_kwargs": {
                "until": list(task.stop),
                "max_gen_toks": task.max_tokens,
                "do_sample": task.temperature > 0,
                "temperature": task.temperature,
            },
            "metric_list": [{"metric": task.metric, "aggregation": "mean", "higher_is_better": True}],
            "process_results": lambda document, answers: _result(task, document, answers, place),
        }
    made: HarnessTask = ConfigurableTask(config=config)
    return made


def _result(
    task: Task, document: Mapping[str, Any], answers: Sequence[str], place: Callable[[Document], str] | None
) -> dict[str, float]:
    match: Match = "regex" if task.metric == "regex" else "exact_match"
    try:
        return {task.metric: score(match, answers[0], document["target"])}
    except RegexTimeout as error:
        where = place(dict(document)) if place else f"task {task.name}"
        raise UserError(
            f"{where}: {error} on the answer {answers[0]!r:.80}",
            remedy="write the pattern without repetitions within repetitions, as a+$ for (a+)+$, and run again",
        ) from error
