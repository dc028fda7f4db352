"""What `distribution` steps return."""

from __future__ import annotations

from whichbits.schema.summary import Summary


class DistributionSummary(Summary, kind="distribution"):
    """Next-token distributions of the candidate and the base on one text, means over all tokens."""

    n_tokens: int
    kl: float
    """KL(base ‖ candidate), nats."""
    top1_agreement: float
    """Share of tokens at which both hold the same one for the likeliest."""
    perplexity: float
    base_perplexity: float
