"""Answers that end where the model ends them: how long they are, and how many queries are served so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from whichbits.engines.errors import EngineError
from whichbits.engines.http.access import OPEN, Access
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.identity import changed, reach, snapshot
from whichbits.schema.serve import NaturalLoad
from whichbits.schema.workload import NaturalOutput, Workload
from whichbits.serving.evidence import evidence_of
from whichbits.serving.metrics.registry import all_metrics
from whichbits.serving.opening import ask_once, pinned
from whichbits.serving.result import metrics_of
from whichbits.serving.steady import steady
from whichbits.serving.traffic.content import Asked
from whichbits.serving.traffic.own_prompts import natural_prompts
from whichbits.serving.validity import judge
from whichbits.serving.workload import LoadLevel


@dataclass(frozen=True)
class InOrder:
    """Each prompt once, in the file's order, after a warm-up with the last ones."""

    prompts: tuple[Asked, ...]
    warmup: int

    def request(self, level: str, index: int) -> Asked:
        """The prompt of that place."""
        return self.prompts[index - self.warmup]


def measure_natural(
    url: str,
    model: str | None,
    tokenizer: Path,
    workload: Workload,
    natural: NaturalOutput,
    *,
    cpus: set[int] | None = None,
    access: Access = OPEN,
    trust_remote_code: bool = False,
) -> NaturalLoad:
    """Ask the server at `url` each of the workload's prompts once, after a warm-up, with `natural.concurrency` in flight.

    The other arguments, and what is raised, are those of `measure`.
    """
    from whichbits.serving.load import Requests, drive

    connection = reach(Connection(url, model, access))
    prompts = natural_prompts(workload, tokenizer, trust_remote_code=trust_remote_code)
    abilities = ask_once(connection)
    level = LoadLevel("natural output", natural.concurrency, None, natural.concurrency, len(prompts))
    before = snapshot(connection)
    with pinned(cpus) as allowed:
        load = asyncio.run(drive(Requests(connection, level, InOrder(prompts, natural.concurrency), 0, abilities)))
    after = snapshot(connection)
    if how := changed(before, after):
        raise EngineError(f"the server at {connection.url} has changed meanwhile ({level.name}): {how}")
    window = steady(load.observations, level)
    metrics = metrics_of(load.observations, all_metrics(), window)
    evidence = evidence_of(load, level, metrics, window, before, after, len(allowed))
    reasons = judge(evidence.model_copy(update={"outputs_off": None}), metrics, level, workload)
    seen = sorted((one for one in load.observations if not one.warmup), key=lambda one: one.request)
    answered = [one for one in seen if one.answered]
    cut = sum(one.output_tokens >= one.asked_output_tokens for one in answered)
    return NaturalLoad(
        concurrency=natural.concurrency,
        valid=not reasons,
        reasons=reasons,
        requests_per_second=metrics.requests_per_second,
        tokens=tuple(one.output_tokens if one.answered else None for one in seen),
        truncated=cut / len(answered) if answered else None,
    )
