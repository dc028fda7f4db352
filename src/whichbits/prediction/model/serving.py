"""From the time of a step to what a server shows: a mean field of prompt and decode steps under continuous batching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whichbits.prediction.model.forward_pass import Values, decode, prefill, request
from whichbits.prediction.model.work import Floats, Work

MEMORY_UTILIZATION = 0.9
"""Share of a device's memory that the engine takes."""
TEST_WINDOW_S = 360.0
"""Length of a load test from an empty server, as the papers ran it; little completes in its first service time."""
SHORTEST_YIELD = 0.15
"""Least share of the steady rate that a load test is taken to see, however long the requests."""


@dataclass(frozen=True)
class Outcome:
    """What a server shows, one number a point; times in seconds, rates in requests a second over all replicas.

    `running` is the number of sequences that one replica runs at once; `rate` is steady, `window_rate` what a load test of
    TEST_WINDOW_S from an empty server counts.
    """

    ttft: Floats
    tpot: Floats
    latency: Floats
    rate: Floats
    window_rate: Floats
    running: Floats


def kv_tokens(work: Work, values: Values) -> Floats:
    """Tokens that the KV cache of one replica holds; negative where the weights alone do not fit."""
    free = work.memory * MEMORY_UTILIZATION - work.resident_bytes - values["reserved_gb"] * 1e9
    per_device = work.kv_token_bytes * work.layers / work.pipeline
    shared = 1 - work.window_share + work.window_share * np.minimum(work.window / (work.prompt + work.output), 1)
    result: Floats = free / (per_device * shared)
    return result


def capacity(work: Work, values: Values) -> Floats:
    """Sequences of one replica that run at once at the most."""
    room = kv_tokens(work, values) / (work.prompt + values["kv_fill"] * work.output)
    return np.maximum(1.0, room)


def serve(work: Work, values: Values, concurrency: Floats | None = None) -> Outcome:
    """What the server shows at a closed-loop concurrency (the points' own, if none is given; infinite means the maximum).

    B requests of a replica return once in the time T of their steps, and the steady rate is B / T. Where the engine mixes
    prompts into decode steps, T is the first request's own prompt and then as many steps as output tokens, or more where a
    step's limit of tokens is too low for all prompts and outputs: then prompts queue, and fewer requests generate at once.
    Elsewhere the prompts of the B − 1 others take steps of their own between decode steps of all B. A pipeline works on as many
    batches at once as it has stages, each of B / stages.
    """
    offered = (work.concurrency if concurrency is None else concurrency) / work.replicas
    room = capacity(work, values)
    running = np.minimum(np.minimum(np.maximum(offered, 1), work.sequences), room)
    context = work.prompt + work.output / 2
    share = np.maximum(running / work.pipeline, 1)
    others = np.maximum(share - 1, 0)
    chunk = work.prompt / np.ceil(work.prompt / work.step_tokens)
    prompt_alone = prefill(work, values, chunk)

    step = decode(work, values, share, context)
    together = work.prompt * np.maximum(1, np.floor(np.minimum(share, work.step_tokens / work.prompt)))
    delay = others * prefill(work, values, np.where(work.prompt > work.step_tokens, chunk, together))

    steps = np.maximum(work.output, (others * work.prompt + share * work.output) / work.step_tokens)
    mixed = decode(work, values, share * work.output / steps, context, others * work.prompt / steps)
    mixed = mixed + others * request(work, values) / steps
    # Prompts spread over all steps would read experts in each of them; whole ones cost no more than in steps of their own.
    experts = (work.copies > 1).any(axis=1)
    mixed = np.where(experts, np.minimum(mixed, (work.output * step + delay) / steps), mixed)
    queued = (steps - work.output) * mixed + np.where(others > 0, mixed, 0)

    mixes = work.mixes > 0
    waiting = np.where(mixes, queued, values["queueing"] * delay)
    tpot = np.where(mixes, mixed, step + (delay - waiting) / work.output)
    steady = running / (prompt_alone + np.where(mixes, steps * mixed, work.output * step + delay))
    finite = np.where(np.isinf(offered), running, np.maximum(offered, 1))
    ttft = prompt_alone + waiting + np.maximum(finite - running, 0) / steady
    latency = ttft + (work.output - 1) * tpot
    seen = np.maximum(1 - values["unseen"] * work.output * tpot / TEST_WINDOW_S, SHORTEST_YIELD)
    rate = np.where(np.isinf(offered), steady, offered / latency) * work.replicas
    return Outcome(ttft=ttft, tpot=tpot, latency=latency, rate=rate, window_rate=steady * work.replicas * seen, running=running)
