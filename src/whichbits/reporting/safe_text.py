"""Text for a terminal that cannot steer it."""

from __future__ import annotations

import unicodedata

from rich.text import Text


def plain(text: str, style: str = "") -> Text:
    """Text without markup, in which control and direction characters are replaced, so that it cannot steer the terminal."""
    shown = (" " if c in "\n\t" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cf") else c for c in text)
    return Text("".join(shown), style=style)
