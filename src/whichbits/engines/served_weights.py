"""Whether a server serves the weights that are here: log-probabilities of a few texts, compared with transformers'.

A server is known by what it says of itself, and that may be wrong: another model, or another format, behind the address. Two
engines that compute one checkpoint in 16 bit differ by rounding alone. How much that is for this checkpoint is measured, as the
difference between its arithmetic in 16 bit and in float32, so no number of another model enters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from whichbits.core.files import write_atomically
from whichbits.core.home import cache_directory
from whichbits.engines.errors import EngineError
from whichbits.schema.served_weights import Agreement

TEXTS = (
    "The train to the coast leaves at half past seven, and the ticket office opens at six.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "Water boils at 100 degrees Celsius at sea level; in the mountains it boils sooner.",
)
TOKENS = 14
"""Tokens of each text that are compared."""
ROUNDING = 3.0
"""How many times as far from transformers a server may be as 16 bit is from float32."""
LEAST = 0.02
"""Nats a token that are always allowed: what kernels differ by in small models."""
FORMAT = 2
"""Version of what is kept in the cache."""


class Scorer(Protocol):
    """The part of a language model that is compared."""

    @property
    def max_length(self) -> int:
        """Largest number of tokens of prompt and output together."""
        ...

    def loglikelihood(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation after its context."""
        ...


@dataclass(frozen=True)
class Reference:
    """A checkpoint's log-probabilities (nats) of the tokens of TEXTS after what comes before them."""

    tokens: tuple[tuple[int, ...], ...]
    logprobs: tuple[float, ...]
    """In the checkpoint's own arithmetic."""
    float32: tuple[float, ...]

    @property
    def pairs(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Context and token of each log-probability."""
        return [(row[:place], row[place : place + 1]) for row in self.tokens for place in range(1, len(row))]

    @property
    def rounding(self) -> float:
        """Root mean square difference, nats a token, of the checkpoint's own arithmetic from float32."""
        return _distance(self.logprobs, self.float32)

    @property
    def limit(self) -> float:
        """Largest root mean square difference, nats a token, that rounding explains."""
        return max(LEAST, ROUNDING * self.rounding)


def reference(checkpoint: Path, identity: str, *, threads: int, trust_remote_code: bool = False) -> Reference | None:
    """The checkpoint's reference, computed once for each `identity` (of its files) and kept in the cache.

    None where the weights do not fit into half of this machine's free memory, or their format has no emulation.
    """
    kept = cache_directory() / "references" / f"{identity}-v{FORMAT}.json"
    try:
        stored = json.loads(kept.read_text(encoding="utf-8"))
        return Reference(tuple(map(tuple, stored["tokens"])), tuple(stored["logprobs"]), tuple(stored["float32"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    if 4 * size > _free_memory() // 2:  # 4-bit weights take four times their size in 16 bit, 16-bit ones twice in float32
        return None
    try:
        found = _computed(checkpoint, threads, trust_remote_code)
    except EngineError:
        return None
    write_atomically(kept, json.dumps(asdict(found)))
    return found


def agreement(server: Scorer, expected: Reference | None) -> Agreement:
    """Ask a server for the log-probabilities of the reference's tokens, and compare them."""
    if expected is None:
        return Agreement(reason="the checkpoint cannot be run on this machine")
    needed = max(map(len, expected.tokens))
    if server.max_length < needed:
        return Agreement(reason=f"requests end at {server.max_length} tokens, and {needed} are compared")
    try:
        served = [total for total, _ in server.loglikelihood(expected.pairs)]
    except EngineError as error:
        return Agreement(reason=str(error))
    return Agreement(
        distance=_distance(served, expected.logprobs),
        limit=expected.limit,
        from_float32=_distance(served, expected.float32),
        rounding=expected.rounding,
    )


def _computed(checkpoint: Path, threads: int, trust_remote_code: bool) -> Reference:
    import torch

    from whichbits.engines.emulation.model import Emulated
    from whichbits.models.tokenization import load_tokenizer, text_ids

    tokenizer = load_tokenizer(checkpoint, trust_remote_code=trust_remote_code)
    tokens = tuple(tuple(text_ids(tokenizer, text)[:TOKENS]) for text in TEXTS)
    expected = Reference(tokens, (), ())
    rows = []
    for dtype in (None, torch.float32):
        model = Emulated(checkpoint, threads=threads, dtype=dtype, trust_remote_code=trust_remote_code)
        rows.append([total for total, _ in model.loglikelihood(expected.pairs)])
        del model
    own, float32 = rows
    return Reference(tokens, tuple(own), tuple(float32))


def _distance(left: Sequence[float], right: Sequence[float]) -> float:
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(left, right, strict=True)) / len(left))


def _free_memory() -> int:
    """Bytes that new processes can have."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
