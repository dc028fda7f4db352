"""Shards: parts of a step's items that run apart from each other, each a step itself."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from whichbits.schema.frozen import Frozen
from whichbits.schema.step import Items


class Shard(Frozen):
    """One of the parts that items are split into, each a range of them in their order."""

    index: int = Field(ge=0)
    """From 0."""
    count: int = Field(ge=1)

    def own(self, known: Sequence[bool]) -> range:
        """Places of this shard's items, of all that are known already or not: each shard has as many that are not."""
        new = [place for place, is_known in enumerate(known) if not is_known]
        cuts = [new[len(new) * index // self.count] if new else len(known) for index in range(1, self.count)]
        edges = [0, *cuts, len(known)]
        return range(edges[self.index], edges[self.index + 1])

    def __str__(self) -> str:
        return f"{self.index + 1} of {self.count}"


class PartOf(Frozen):
    """What a shard's step is a part of."""

    step: str
    """Key of the step that is split."""
    items: Items | None = None
    """How many items of it are wanted, as in `Step`."""
    shard: Shard
