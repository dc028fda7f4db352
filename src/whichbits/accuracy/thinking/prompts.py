"""Prompts in a thinking mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whichbits.models.chat_template import render
from whichbits.schema.thinking import ThinkingMode

Message = Mapping[str, str]


def switched(messages: Sequence[Message], mode: ThinkingMode) -> list[Message]:
    """The messages with the mode's suffix on the last of the user's, and its system prompt before all."""
    made = [dict(message) for message in messages]
    last = max((place for place, message in enumerate(made) if message["role"] == "user"), default=None)
    if last is not None:
        made[last]["content"] += mode.suffix
    if mode.system is None:
        return list(made)
    if made and made[0]["role"] == "system":
        made[0]["content"] = f"{mode.system}\n\n{made[0]['content']}"
        return list(made)
    return [{"role": "system", "content": mode.system}, *made]


def prompt_in(tokenizer: Any, messages: Sequence[Message], mode: ThinkingMode) -> str:
    """What the chat template of a Hugging Face tokenizer writes of the messages in a mode, up to where the reply begins.

    Raises UserError as `models.chat_template.render`.
    """
    return render(tokenizer, switched(messages, mode), add_generation_prompt=True, arguments=mode.arguments)
