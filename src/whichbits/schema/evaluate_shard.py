"""What `evaluate_shard` steps take and return: a part of an evaluation's items."""

from __future__ import annotations

from typing import Generic

from whichbits.schema.evaluate import EvaluateInputs, TaskT
from whichbits.schema.shard import PartOf
from whichbits.schema.summary import Summary


class EvaluateShardInputs(EvaluateInputs[TaskT], Generic[TaskT]):
    """The evaluation's, and which part of its items."""

    part: PartOf


class EvaluateShardSummary(Summary, kind="evaluate_shard"):
    """What a merge needs besides the items, which are in `items.parquet`."""

    first: int
    """Place of its first item among those of the evaluation."""
    total: int
    """Items of the evaluation."""
    prompt_tokens: int
    """Of all items together, those kept of an earlier result too."""
    generated_tokens: int
    seconds: float
    """Of generating replies, in a thinking mode."""
    kept: int
    """Items of each subtask that were found by an earlier run."""
    available: int
    most: int | None
    source_version: str | None
    lm_eval: str | None
    sandbox: str | None
