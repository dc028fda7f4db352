"""What `evaluate` steps return."""

from __future__ import annotations

from whichbits.schema.frozen import Stored
from whichbits.schema.sampling import Sampling
from whichbits.schema.served_weights import Agreement
from whichbits.schema.summary import Summary


class Sampled(Sampling, Stored):
    """How answers were drawn, and how they spread."""

    sample_mean: float | None = None
    """Mean score of all answers; None with one answer an item."""
    variance_between: float | None = None
    """Of scores, between items."""
    variance_within: float | None = None
    """Of scores, within items."""


class EvaluateSummary(Summary, kind="evaluate"):
    """A task's score; its items are in `items.parquet`."""

    task: str
    version: int | str = 0
    kind: str = ""
    metric: str
    n: int
    """Items that were scored."""
    available: int | None = None
    """Items that the task has without a limit."""
    most: int | None = None
    """The most items that the task can have; None where a generator never runs out of them."""
    score: float
    """Mean over items, from 0 to 1."""
    stderr: float | None = None
    """Of the mean, for independent items: standard deviation / √n."""
    chance: float = 0.0
    """What guessing scores."""
    rescaled: float | None = None
    """100 · score above chance / room above chance, at least 0, where the task says so: the Open LLM Leaderboard's number."""
    uninformative: str | None = None
    """Why the task says little where this model is the base."""
    prompt_tokens: float | None = None
    """Mean over items."""
    generated_tokens: float | None = None
    source_version: str | None = None
    """Of the task, where it is another project's."""
    lm_eval: str | None = None
    """Version of lm-evaluation-harness, where that ran the task."""
    sampled: Sampled | None = None
    """None for greedy answers."""
    sandbox: str | None = None
    """What confined generated programs."""
    concurrency: int | None = None
    weights: Agreement | None = None
    """Of a server at an address."""
