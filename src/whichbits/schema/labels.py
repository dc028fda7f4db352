"""What a step means to people; no part of its key."""

from __future__ import annotations

from whichbits.schema.frozen import Stored

IMPORTED = "imported"
"""`engine` of what another tool measured."""


class Labels(Stored):
    """Of which candidate a step is, and of what else; what a kind of step has no use for is None."""

    candidate: str = ""
    format: str | None = None
    task: str | None = None
    mode: str | None = None
    """Of thinking, in which the task is asked."""
    prompts: str | None = None
    """Set of prompts that texts are generated for."""
    text: str | None = None
    """Text that next-token distributions are compared on."""
    engine: str | None = None
    """`vllm`, `url` or `emulated`."""
    workload: str | None = None
    deployment: str | None = None
    shard: str | None = None
    """Which part of a step's items, as `2 of 8`."""
    repeat: int = 0
    """Which run of several, from 0."""

    def shown(self) -> dict[str, str]:
        """What is said of the step, by name."""
        return {name: str(value) for name, value in self.model_dump(exclude_unset=True).items() if value is not None}
