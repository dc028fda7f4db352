"""Whether answers can be drawn as stated, and from which seeds."""

from __future__ import annotations

import hashlib

from whichbits.accuracy.reducers.registry import reducer
from whichbits.core.errors import UserError
from whichbits.schema.sampling import Sampling


def check(sampling: Sampling) -> None:
    """Raise UserError for samples that would all be the same, and for a reducer that is none or needs more samples."""
    if sampling.samples > 1 and sampling.temperature == 0:
        raise UserError(
            f"samples: {sampling.samples} greedy answers to an item are {sampling.samples} times the same",
            remedy="set temperature, for example 0.6, or samples to 1",
        )
    needed = reducer(sampling.reducer).least_samples
    if needed > sampling.samples:
        raise UserError(
            f"reducer: {sampling.reducer} needs {needed} answers an item, and there are {sampling.samples}",
            remedy=f"set samples to {needed} or more, or choose the reducer mean",
        )


def sample_seed(seed: int, prompt_hash: str, sample: int) -> int:
    """Seed of one answer, 31 bits: the same for base and candidate, and another for each item and each of its answers.

    The first 4 bytes of SHA-256 over `seed/prompt_hash/sample`, without the highest bit.
    """
    digest = hashlib.sha256(f"{seed}/{prompt_hash}/{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF
