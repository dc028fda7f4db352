"""How long steps that were never run will take, by the predictor: for a plan's hours and dollars before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.studies.steps.registry import KINDS

if TYPE_CHECKING:
    from whichbits.schema.step import Step
    from whichbits.studies.planning.estimate import Durations
    from whichbits.studies.planning.planner import Expansion


def expected(expansion: Expansion, durations: Durations) -> Callable[[Step], float | None]:
    """Seconds of a step by those like it that have run, else predicted; None where neither tells."""
    predicted = forecast(expansion)

    def seconds(step: Step) -> float | None:
        seen = durations.step(step)
        return predicted(step) if seen is None else seen

    return seconds


def forecast(expansion: Expansion) -> Callable[[Step], float | None]:
    """Predicted seconds of a step that makes a checkpoint or talks to a server; None of the others, and where nothing tells.

    How long checkpoints take to make follows from the speed of this machine, which is measured for some seconds.
    The engine's version is that of the engine that would be started. The deployment's hardware is that of the specification;
    for `this-machine` without a GPU, its processor, measured.
    """
    formats = {subject.name: subject.format.name for subject in expansion.subjects}
    deployment = expansion.specification.deployment
    release = expansion.command.version if expansion.command is not None else ""
    engine = f"vllm=={release}" if release[:1].isdigit() else "vllm"
    known = deployment.hardware != "this-machine" or not expansion.hardware.gpus
    device = "cpu" if deployment.hardware == "this-machine" else deployment.hardware

    estimates: dict[str, Callable[[Step], float | None]] = {}

    def seconds(step: Step) -> float | None:
        estimate = KINDS[step.kind].estimate
        if estimate is not None:
            if step.kind not in estimates:
                estimates[step.kind] = estimate(expansion)
            return estimates[step.kind](step)
        predicted = KINDS[step.kind].seconds
        served = step.kind in ("serve", "prefill_decode") or (step.labels.engine or "emulated") != "emulated"
        if predicted is None or not served or not known or step.labels.candidate not in formats:
            return None

        def ask(prompt: float, output: float, concurrencies: Sequence[float]) -> list[float | None]:
            from whichbits.prediction.predictor import predict_many
            from whichbits.prediction.query import Query

            model, format = str(expansion.model.path), formats[step.labels.candidate]
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
            return [answer.qps for answer in predict_many(asked)]

        try:
            return predicted(step, ask)
        except UserError:  # a model, format or device that the predictor does not know
            return None

    return seconds
