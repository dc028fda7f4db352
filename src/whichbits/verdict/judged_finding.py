"""What a judge says of answers, as the verdict has it."""

from __future__ import annotations

from typing import Literal

from whichbits.verdict.estimates import Estimate, Frozen, Provenance


class JudgedFinding(Frozen):
    """What a judge says of a model's answers to open questions; it enters no decision."""

    candidate: str
    task: str
    mode: str | None = None
    """Of thinking, in which the task was asked."""
    engine: str
    provenance: Provenance
    against: Literal["baseline", "base"]
    """Whose answers it was compared with: those that the task names, or the base model's."""
    items: int
    score: float
    """Mean win probability over items, from 0 to 1; ½ is equal."""
    win_rate: Estimate | None
    """By the Bradley-Terry model, over questions; None where no judgment has a label."""
    win_rate_at_equal_style: Estimate | None
    """With length, headers, lists and bold text held equal."""
    judge: str
    rounds: int
    """How often each answer was judged, each time in both orders."""
    swayed_by_order: float | None
    """Share of rounds in which another order makes another winner."""
    changed_when_repeated: float | None
    """Share of repeated judgments with another winner; None with one round."""
    without_label: int
    identical: int
    """Pairs of answers, the same to the letter, that are ties without being judged."""
    requests: int
    dollars: float | None
    """What the judging cost, where its price was given."""
    steps: tuple[str, ...]
