"""From the time of a step to what a server shows: a mean field of prompt and decode steps under continuous batching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whichbits.predict.step import Values, decode, prefill, request
from whichbits.predict.work import Floats, Work

STEP_TOKENS = 8192
"""Tokens of prompts that an engine computes in one step."""
MAX_SEQUENCES = 256
"""Sequences that an engine runs at once unless told otherwise (vLLM's max_num_seqs)."""
MEMORY_UTILIZATION = 0.9
"""Share of a device's memory that the engine takes."""
TEST_WINDOW_S = 360.0
"""Length of a load test from an empty server, as the papers ran it; nothing completes in its first service time."""
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


def _beside(work: Work, values: Values, share: Floats, context: Floats, others: Floats, step: Floats) -> Floats:
    """What the prompts of `others` add to the decode steps of a request when they ride in the same steps."""
    tokens = others * work.prompt
    steps = np.maximum(work.output, tokens / STEP_TOKENS)
    longer = decode(work, values, share, context, tokens / steps)
    return steps * longer - work.output * step + others * request(work, values)


def serve(work: Work, values: Values, concurrency: Floats | None = None) -> Outcome:
    """What the server shows at a closed-loop concurrency (the points' own, if none is given; infinite means the maximum).

    While a request generates, the prompts of the B − 1 others of its replica are computed once each: in steps of their own (up
    to STEP_TOKENS tokens), or in the decode steps where the engine mixes them. So B requests return once in
    T = prompt + output · step(B) + delay by others, and the steady rate is B / T. A pipeline works on as many batches at once
    as it has stages, each of B / stages.
    """
    offered = (work.concurrency if concurrency is None else concurrency) / work.replicas
    room = capacity(work, values)
    running = np.minimum(np.where(np.isinf(offered), MAX_SEQUENCES, np.maximum(offered, 1)), room)
    context = work.prompt + work.output / 2
    share = np.maximum(running / work.pipeline, 1)
    together = np.maximum(1, np.floor(np.minimum(share, STEP_TOKENS / work.prompt)))
    step_tokens = np.where(work.prompt > STEP_TOKENS, work.prompt / np.ceil(work.prompt / STEP_TOKENS), work.prompt * together)
    alone = np.where(work.prompt > STEP_TOKENS, step_tokens, work.prompt)
    prompt_alone = prefill(work, values, alone)
    step = decode(work, values, share, context)
    others = np.maximum(share - 1, 0)
    mixed, apart = _beside(work, values, share, context, others, step), others * prefill(work, values, step_tokens)
    mixes = work.mixes > 0
    delay = np.where(mixes, mixed, apart)
    waiting = np.where(mixes, np.where(others > 0, step, 0), values["queueing"] * delay)
    steady = running / (prompt_alone + delay + work.output * step)
    tpot = step + np.where(mixes, delay, delay - waiting) / work.output
    finite = np.where(np.isinf(offered), running, np.maximum(offered, 1))
    ttft = prompt_alone + waiting + np.maximum(finite - running, 0) / steady
    latency = ttft + (work.output - 1) * tpot
    seen = np.maximum(1 - work.output * step / TEST_WINDOW_S, SHORTEST_YIELD)
    rate = np.where(np.isinf(offered), steady, finite / latency) * work.replicas
    return Outcome(ttft=ttft, tpot=tpot, latency=latency, rate=rate, window_rate=steady * work.replicas * seen, running=running)
