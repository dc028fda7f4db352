"""The hash of inputs that are too long for a key's text."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, for inputs too long to be kept in a key's text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
