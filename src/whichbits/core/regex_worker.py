"""Match regular expressions: run by `limited_process.py`, with nothing but the standard library."""

from __future__ import annotations

import re
from typing import Any


def answer(method: str, pattern: str, texts: list[str]) -> list[Any]:
    """What `re` says of each text: whether it is found (`search`, `match`, `fullmatch`), or the finds (`findall`).

    Raises ValueError where the pattern is none.
    """
    found: list[Any] = []
    try:
        function = getattr(re.compile(pattern), method)
        for text in texts:
            said = function(text)
            found.append(said if method == "findall" else said is not None)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    return found
