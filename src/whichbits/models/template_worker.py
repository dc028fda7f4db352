"""Render chat templates with transformers: run by `core/limited_process.py`."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template


def answer(template: str, messages: list[dict[str, Any]], today: str, options: dict[str, Any], longest: int) -> str:
    """The messages as the template writes them on the day `today` (ISO) and with the same dice.

    `options` are those of the library's function, and the template's own variables. Raises ValueError where the template
    refuses the messages, and for a text of more than `longest` characters.
    """
    random.seed(0)  # jinja's filter `random` draws from there
    try:
        rendered: Any = render_jinja_template(
            [messages], chat_template=template, strftime_now=datetime.fromisoformat(today).strftime, **options
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a template can raise anything
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    text: str = rendered[0][0]
    if len(text) > longest:
        raise ValueError(f"it writes {len(text):,} characters, and may write {longest:,}")
    return text
