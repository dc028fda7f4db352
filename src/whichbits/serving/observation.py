"""What the client saw of one request, and the row of it that is kept."""

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


@dataclass(frozen=True)
class RequestRow:
    """One measured request as `items.parquet` keeps it; times in seconds, None where it failed or has no second token."""

    request: int
    start_s: float
    """Since the load level began."""
    ttft_s: float | None
    """First chunk with tokens − start."""
    itl_s: float | None
    """(last chunk − first chunk) / (chunks − 1)."""
    tpot_s: float | None
    """(last chunk − first chunk) / (output tokens − 1)."""
    latency_s: float | None
    """End of the stream − start."""
    prompt_tokens: int
    output_tokens: int
    ok: bool


AT_ONCE_S = 50e-6
"""No engine makes a token in so little time: tokens that arrive closer together were held back and sent together."""


def in_one_piece(seen: Observation) -> bool:
    """Whether all tokens of a request arrived at once, so that nothing between its start and its end was seen."""
    if seen.output_tokens < 2 or seen.first_token_s is None or seen.last_token_s is None:
        return False
    return seen.last_token_s - seen.first_token_s < AT_ONCE_S * (seen.output_tokens - 1)


def row(seen: Observation) -> RequestRow:
    """The latencies of one request."""
    first, last = seen.first_token_s, seen.last_token_s
    if seen.error is not None or first is None or last is None:
        return RequestRow(seen.request, seen.start_s, None, None, None, None, seen.prompt_tokens, seen.output_tokens, ok=False)
    decode = last - first
    return RequestRow(
        request=seen.request,
        start_s=seen.start_s,
        ttft_s=first - seen.start_s,
        itl_s=decode / (seen.chunks - 1) if seen.chunks > 1 else None,
        tpot_s=decode / (seen.output_tokens - 1) if seen.output_tokens > 1 else None,
        latency_s=seen.end_s - seen.start_s,
        prompt_tokens=seen.prompt_tokens,
        output_tokens=seen.output_tokens,
        ok=True,
    )
