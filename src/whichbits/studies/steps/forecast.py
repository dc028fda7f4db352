"""Predicted seconds of steps that talk to a server, by how many requests a second it is predicted to answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whichbits.schema.engine import Emulation, ServingEngine

SERVER_START_S = 40.0
"""What vLLM takes until it answers, about: 30 to 45 s for a small model on two cores. A large model's weights add to it."""

CHARACTERS_A_TOKEN = 4
"""Of English text, about: prompts are not tokenized for a forecast."""

Ask = Callable[[float, float, Sequence[float]], Sequence[float | None]]
"""Requests a second of one checkpoint, by prompt tokens, output tokens and each of some concurrencies; None where not known."""


def batch_seconds(lengths: Sequence[int], max_tokens: int, engine: ServingEngine | Emulation, ask: Ask) -> float | None:
    """Seconds of requests whose prompts have these lengths in characters, each generating `max_tokens` tokens.

    None where the predictor does not know them, and of emulation.
    """
    if isinstance(engine, Emulation):
        return None
    if not lengths:
        return 0.0
    mean = sum(lengths) / len(lengths) / CHARACTERS_A_TOKEN
    rate = ask(mean, max_tokens, [min(len(lengths), engine.concurrency)])[0]
    return len(lengths) / rate if rate else None
