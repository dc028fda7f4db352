"""`whichbits prefill-decode`: how fast a checkpoint takes prompts, and how fast it decodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from whichbits.api.arguments import part_of_a_study, served_at
from whichbits.studies.study import run_part

if TYPE_CHECKING:
    from whichbits.schema.prefill_decode import Phase


@dataclass(frozen=True)
class MeasuredBatch:
    """Prefill, or a decode step, of batches of one size and length in one round."""

    phase: Phase
    tokens: int
    """Of each prompt in prefill; of prompt and output so far in decode."""
    batch_size: int
    round: int
    """From 1."""
    seconds: float | None
    """Mean over the batches, until all have their first token, or of a decode step; None where none was answered."""
    tokens_per_second: float | None
    """Prompt tokens of the whole batch, or output tokens of it."""
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid."""


def prefill_decode(
    model: str,
    *,
    prompt_tokens: Sequence[int],
    context_tokens: Sequence[int] | None = None,
    batch_size: Sequence[int] | None = None,
    url: str | None = None,
    served_model_name: str | None = None,
    rounds: int = 1,
    store: Path | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> tuple[MeasuredBatch, ...]:
    """Measure prefill and decode of a checkpoint apart, for each length, size of the batch and round. Raises UserError.

    `context_tokens` are by default those of the prompts, and `batch_size` is 1, 4 and 16. The other arguments are those of
    `bench`.
    """
    from whichbits.schema.prefill_decode import PrefillDecodeSummary

    given = {"prompt_tokens": prompt_tokens, "context_tokens": context_tokens, "batch_sizes": batch_size}
    asked = {name: sorted(set(values)) for name, values in given.items() if values is not None}
    engine = served_at({"base": (url, served_model_name)})
    part = part_of_a_study("prefill-decode", model, prefill_decode=asked, rounds=rounds, engine=engine, seed=seed)
    found = [
        (record.labels.repeat + 1, one)
        for record in run_part(part, store, {"prefill_decode"}, fresh=fresh)
        for one in record.found(PrefillDecodeSummary).batches
    ]
    return tuple(
        MeasuredBatch(
            phase=one.phase,
            tokens=one.tokens,
            batch_size=one.batch_size,
            round=number,
            seconds=(seconds := fmean(one.seconds) if one.seconds else None),
            tokens_per_second=one.batch_size * (one.tokens if one.phase == "prefill" else 1) / seconds if seconds else None,
            valid=one.valid,
            reasons=one.reasons,
        )
        for number, one in found
    )
