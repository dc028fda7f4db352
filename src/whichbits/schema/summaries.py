"""All kinds of summaries; importing them registers them."""

from __future__ import annotations

from whichbits.schema import (  # noqa: F401
    compare,
    distribution,
    evaluate,
    evaluate_shard,
    generate,
    generate_shard,
    judge,
    prefill_decode,
    probe,
    quantize,
    serve,
)
from whichbits.schema.summary import KINDS, Summary


def summary_class(kind: str) -> type[Summary]:
    """The class of the summaries of a kind of step. Raises KeyError for a kind that nobody has declared."""
    return KINDS[kind]
