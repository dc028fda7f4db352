"""The naive roofline that the predictor is shown beside: peak rates, no overheads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whichbits.prediction.model.coefficients import priors
from whichbits.prediction.model.serving import serve
from whichbits.prediction.model.work import Floats, Work, columns
from whichbits.prediction.training.fit import Case


def latency(work: Work) -> Floats:
    """Seconds of one request alone: its prompt at the peak rate, weights and KV cache read once a token at full bandwidth."""
    weights = (work.share * work.copies * work.width_out * work.width_in).sum(axis=1) * work.layers
    head = work.vocab * work.hidden
    compute = (
        2 * work.prompt * (work.share * work.active * work.width_out * work.width_in).sum(axis=1) * work.layers / work.rate
    )
    cache = work.layers * (work.prompt + work.output / 2) * work.kv_token_bytes
    token = (weights * work.weight_bytes + 2 * head + cache) / work.bandwidth
    result: Floats = compute + (work.output - 1) * token
    return result


def tpot(work: Work, running: Floats) -> Floats:
    """Seconds between tokens of `running` sequences of a replica: the larger of memory and compute time of a decode step."""
    weights = (work.share * work.copies * work.width_out * work.width_in).sum(axis=1) * work.layers
    head = work.vocab * work.hidden
    cache = running * work.layers * (work.prompt + work.output / 2) * work.kv_token_bytes
    memory = (weights * work.weight_bytes + 2 * head + cache) / work.bandwidth
    result: Floats = np.maximum(memory, 2 * running * weights / work.rate)
    return result


def rate(work: Work, running: Floats) -> Floats:
    """Requests a second over all replicas at `running` sequences each."""
    weights = (work.share * work.active * work.width_out * work.width_in).sum(axis=1) * work.layers
    prompt = 2 * work.prompt * weights / work.rate
    result: Floats = running * work.replicas / (running * prompt + work.output * tpot(work, running))
    return result


def naive(cases: Sequence[Case]) -> Floats:
    """log(naive roofline / measured) of each case; it knows no time to the first token under load."""
    work = columns([case.point for case in cases])
    at_once = serve(work, priors().values).running
    by_load = {
        "synchronous": latency(work),
        "max": rate(work, at_once),
        "loaded": tpot(work, at_once),
    }
    y = np.array([by_load[case.measurement.load][i] for i, case in enumerate(cases)])
    result: Floats = np.log(y / np.array([case.measurement.value for case in cases]))
    return result
