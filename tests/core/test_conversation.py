"""Messages as users and data sets write them."""

from __future__ import annotations

from typing import Any

import pytest

from whichbits.core.conversation import messages, text_of


def test_text_parts_are_joined_as_vllm_joins_them():
    parts = [{"type": "text", "text": "one"}, {"text": "two"}, "three"]
    assert text_of(parts) == "one\ntwo\nthree"
    given = [
        {"role": "user", "content": parts, "name": "left out"},
        {"role": "assistant", "content": "", "tool_calls": None, "function_call": None},  # as tables have them
    ]
    assert messages(given) == [{"role": "user", "content": "one\ntwo\nthree"}, {"role": "assistant", "content": ""}]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "messages is null"),
        ("hello", "messages is the text 'hello'"),
        ([], "messages is empty"),
        ({"role": "user"}, "messages is a mapping"),
        (["hello"], r"messages\[0\] is the text"),
        ([{"content": "x"}], r"messages\[0\]\.role is null"),
        ([{"role": 3, "content": "x"}], r"messages\[0\]\.role is 3"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": None}], r"messages\[1\]\.content is null"),
        ([{"role": "user"}], r"messages\[0\]\.content is null"),
        ([{"role": "user", "content": 5}], r"messages\[0\]\.content is 5"),
        ([{"role": "user", "content": True}], r"messages\[0\]\.content is True"),
        ([{"role": "user", "content": {"text": "x"}}], r"messages\[0\]\.content is a mapping"),
        ([{"role": "user", "content": []}], r"messages\[0\]\.content is empty"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"content\[0\] is a part of type 'image_url'"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\]\.text is null"),
        ([{"role": "user", "content": [None]}], r"content\[0\] is null"),
        ([{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}], r"messages\[0\]\.tool_calls holds calls"),
        ([{"role": "assistant", "content": "", "function_call": {"name": "f"}}], r"messages\[0\]\.function_call holds"),
    ],
)
def test_what_is_no_message_is_named(value: Any, says: str):
    with pytest.raises(ValueError, match=says):
        messages(value)
