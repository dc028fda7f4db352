"""When a refused or lost request is sent again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

PASSING = (408, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529)
"""Statuses of a server that is busy, loading or restarting, or of a gateway before it: the same request may be answered later.

520 to 524 are Cloudflare's for what is behind it, 529 is an overloaded service's.
"""


@dataclass(frozen=True)
class Patience:
    """How long a request is tried again: pauses grow from `first_s` to `longest_s`.

    Together they are at most `total_s` where the server refuses, and `lost_s` where it cannot be reached or hangs up.
    """

    first_s: float = 0.5
    longest_s: float = 16.0
    total_s: float = 60.0
    lost_s: float = 4.0

    def pause(self, attempt: int, waited_s: float, retry_after: str | None = None, *, lost: bool = False) -> float | None:
        """Seconds to wait after the failed `attempt` (from 0), at least what the server asks; None where that is too long."""
        own = min(self.first_s * 2**attempt, self.longest_s) * random.uniform(1.0, 1.2)
        asked = retry_after_s(retry_after) or 0.0
        wanted = max(own, asked)
        return None if waited_s + wanted > (self.lost_s if lost else self.total_s) else wanted


NO_PATIENCE = Patience(total_s=0.0, lost_s=0.0)
"""Every request is sent once."""


def retry_after_s(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date in HTTP's form; None where it says nothing clear."""
    if value is None:
        return None
    try:
        return max(0.0, float(value)) if float(value) < 1e9 else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now))
    except (ValueError, TypeError, OverflowError):
        return None
