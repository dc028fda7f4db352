"""What the client saw of one request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """Time stamps of one request in seconds since the load level began; None where it did not get so far."""

    request: int
    warmup: bool
    target_s: float
    """When the load asked for it: the end of the request before it, or its arrival time."""
    start_s: float
    """When it was given to its connection."""
    first_token_s: float | None
    last_token_s: float | None
    end_s: float
    prompt_tokens: int
    """As the server counted them; so are `output_tokens`."""
    output_tokens: int
    chunks: int
    """Parts of the stream that brought tokens."""
    gaps_s: tuple[float, ...]
    """Times between successive chunks."""
    error: str | None
    asked_prompt_tokens: int
    """Tokens of the prompt that was sent."""
    asked_output_tokens: int

    @property
    def answered(self) -> bool:
        """Whether it was answered in full, with a token."""
        return self.error is None and self.first_token_s is not None and self.last_token_s is not None

    @property
    def decode_s(self) -> float | None:
        """From the first chunk with tokens to the last; None where there was none."""
        if self.first_token_s is None or self.last_token_s is None:
            return None
        return self.last_token_s - self.first_token_s


AT_ONCE_S = 50e-6
"""No engine makes a token in so little time: tokens that arrive closer together were held back and sent together."""


def in_one_piece(seen: Observation) -> bool:
    """Whether all tokens of a request arrived at once, so that nothing between its start and its end was seen."""
    if seen.output_tokens < 2 or seen.decode_s is None:
        return False
    return seen.decode_s < AT_ONCE_S * (seen.output_tokens - 1)
