"""How long cells that were never run will take, by the predictor: for a plan's hours and dollars before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.prediction.predictor import Prediction
    from whichbits.schema.step import Cell
    from whichbits.serving.workload import Rung, Workload
    from whichbits.studies.planning.planner import Expansion

CHARACTERS_A_TOKEN = 4
"""Of English text, about: prompts are not tokenized for a forecast."""

Ask = Callable[[float, float, Sequence[float]], "list[Prediction]"]
"""Predictions of one checkpoint at prompt tokens, output tokens and each of some concurrencies."""


def forecast(expansion: Expansion) -> Callable[[Cell], float | None]:
    """Predicted seconds of a cell that talks to a server; None of the others, and where the predictor has no answer.

    The engine's version is that of the engine that would be started. The deployment's hardware is that of the specification;
    for `this-machine` without a GPU, its processor, measured.
    """
    formats = {subject.name: subject.format.name for subject in expansion.subjects}
    deployment = expansion.specification.deployment
    release = expansion.command.version if expansion.command is not None else ""
    engine = f"vllm=={release}" if release[:1].isdigit() else "vllm"
    known = deployment.hardware != "this-machine" or not expansion.hardware.gpus
    device = "cpu" if deployment.hardware == "this-machine" else deployment.hardware

    def seconds(cell: Cell) -> float | None:
        served = cell.kind == "serve" or cell.labels.get("engine", "emulated") != "emulated"
        if not served or not known or cell.labels.get("candidate") not in formats:
            return None

        def ask(prompt: float, output: float, concurrencies: Sequence[float]) -> list[Prediction]:
            from whichbits.prediction.predictor import predict_many
            from whichbits.prediction.query import Query

            model, format = str(expansion.model.path), formats[cell.labels["candidate"]]
            asked = [
                Query(
                    model,
                    format,
                    device,
                    deployment.count,
                    max(1, round(prompt)),
                    max(1, round(output)),
                    concurrency,
                    engine=engine,
                )
                for concurrency in concurrencies
            ]
            return predict_many(asked)

        try:
            return _seconds(cell, ask)
        except UserError:  # a model, format or device that the predictor does not know
            return None

    return seconds


def _seconds(cell: Cell, ask: Ask) -> float | None:
    if cell.kind == "serve":
        from whichbits.serving.workload import Workload

        return ladder_seconds(Workload.model_validate(cell.inputs["workload"]), ask)
    if cell.kind == "generate":
        lengths = [sum(len(message["content"]) for message in prompt["messages"]) for prompt in cell.inputs["prompts"]]
        return batch_seconds(lengths, cell.inputs["max_tokens"], cell.inputs["engine"], ask)
    if cell.kind == "evaluate":
        return _evaluate_seconds(cell.inputs, cell.places, ask)
    return None


def ladder_seconds(workload: Workload, ask: Ask) -> float | None:
    """Seconds of a workload's rungs: a warm-up and `waves` waves of each number of requests in flight, and the rate's rung."""
    from whichbits.serving.capacity import saturated
    from whichbits.serving.measure import HIGHEST_CONCURRENCY
    from whichbits.serving.workload import closed_rung, open_rung

    if workload.concurrency == "auto":
        doubled = [2**step for step in range(HIGHEST_CONCURRENCY.bit_length())]
        rungs = [closed_rung(workload, n) for n in doubled if n > 1 or workload.synchronous]
    else:
        rungs = [closed_rung(workload, n) for n in (*((1,) if workload.synchronous else ()), *workload.concurrency)]
    answers = ask(workload.prompt_tokens, workload.output_tokens, [rung.concurrency or 1 for rung in rungs])
    total, rates = 0.0, list[float]()
    for rung, answer in zip(rungs, answers, strict=True):
        if answer.qps is None:
            return None
        if workload.concurrency == "auto" and saturated(rates):
            break
        rates.append(answer.qps)
        total += _requests(rung) / answer.qps
    if workload.rate is not None:
        total += _requests(open_rung(workload, workload.rate)) / workload.rate
    return total


def _requests(rung: Rung) -> int:
    return rung.warmup + rung.requests


def batch_seconds(lengths: Sequence[int], max_tokens: int, engine: Mapping[str, Any], ask: Ask) -> float | None:
    """Seconds of requests whose prompts have these lengths in characters, each generating `max_tokens` tokens."""
    if not lengths:
        return 0.0
    mean = sum(lengths) / len(lengths) / CHARACTERS_A_TOKEN
    answer = ask(mean, max_tokens, [min(len(lengths), int(engine["concurrency"]))])[0]
    return len(lengths) / answer.qps if answer.qps else None


def _evaluate_seconds(inputs: Mapping[str, Any], places: Mapping[str, Any], ask: Ask) -> float | None:
    """Seconds, at most, of a task whose items are known before anything is loaded."""
    from whichbits.accuracy.kinds.registry import task_kind
    from whichbits.accuracy.task import Task

    task = Task.model_validate({**inputs["task"], "source": places.get("source", inputs["task"]["source"])})
    lengths = task_kind(task.kind).prompt_lengths(task, limit=inputs["limit"], seed=inputs["seed"])
    return None if lengths is None else batch_seconds(lengths, task.max_tokens or 1, inputs["engine"], ask)
