"""What `generate_shard` steps take and return: texts for a part of the prompts."""

from __future__ import annotations

from typing import Generic

from whichbits.schema.generate import GenerateInputs, PromptT
from whichbits.schema.shard import PartOf
from whichbits.schema.summary import Summary


class GenerateShardInputs(GenerateInputs[PromptT], Generic[PromptT]):
    """The generation's, and which part of its prompts."""

    part: PartOf


class GenerateShardSummary(Summary, kind="generate_shard"):
    """Greedy texts; they are in `items.parquet`."""

    n: int
    tokens: int
    """Of all texts together."""
