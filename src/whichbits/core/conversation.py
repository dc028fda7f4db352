"""Conversations as users and data sets write them: a list of {"role", "content"}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Messages = list[dict[str, str]]

CALLS = ("tool_calls", "function_call")
"""Fields of a message that are a part of what the model wrote: without them it would have answered with nothing."""


def messages(value: Any) -> Messages:
    """Roles and texts of a conversation; other fields of a message are left out.

    Raises ValueError that names the field and what is wrong with it.
    """
    if not _is_list(value) or not len(value):
        raise ValueError(f"messages is {_kind(value)}, not a list of messages")
    return [_message(each, f"messages[{place}]") for place, each in enumerate(value)]


def text_of(content: Any, field: str = "content") -> str:
    """Text of a message's content: a string, or a list of text parts, which are joined by line feeds as vLLM joins them.

    Raises ValueError that names `field` for null, numbers and parts that are no text (an image, say).
    """
    if isinstance(content, str):
        return content
    if not _is_list(content) or not len(content):
        raise ValueError(f"{field} is {_kind(content)}, not a text")
    return "\n".join(_part(each, f"{field}[{place}]") for place, each in enumerate(content))


def _message(value: Any, field: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{field} is {_kind(value)}, not an object with role and content")
    role = value.get("role")
    if not isinstance(role, str) or not role:
        raise ValueError(f"{field}.role is {_kind(role)}, not user, assistant or system")
    if called := next((name for name in CALLS if value.get(name)), None):
        raise ValueError(f"{field}.{called} holds calls of tools, and only roles and texts are read")
    return {"role": role, "content": text_of(value.get("content"), f"{field}.content")}


def _part(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{field} is {_kind(value)}, not a text part")
    if value.get("type", "text") != "text":
        raise ValueError(f"{field} is a part of type {value['type']!r}, not text")
    if not isinstance(value.get("text"), str):
        raise ValueError(f"{field}.text is {_kind(value.get('text'))}, not a text")
    return str(value["text"])


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _kind(value: Any) -> str:
    """A JSON value in words."""
    if value is None:
        return "null or missing"
    if isinstance(value, str) and value:
        return f"the text {value!r:.40}"
    if isinstance(value, bool | int | float):
        return repr(value)
    return "empty" if not value else f"a {'list' if _is_list(value) else 'mapping' if isinstance(value, Mapping) else 'value'}"
