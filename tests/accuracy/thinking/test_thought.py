"""The answer of a reply, and where stop strings count."""

from __future__ import annotations

import pytest

from whichbits.accuracy.thinking.thought import after_thought, answer_of, begun_thought, cut_answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Four.", "Four."),
        ("<think>2 + 2\n</think>Four.", "Four."),
        ("so 4</think>Four.", "Four."),
        ("[unused16]2 + 2[unused17]Four.", "Four."),
        ("<think>2 + 2", None),
    ],
)
def test_what_comes_after_a_thought(reply: str, answer: str | None):
    assert after_thought(reply) == answer


def test_stop_strings_end_the_answer_and_not_the_thought():
    reply = "<think>one\n\ntwo\n\n</think>Four.\n\nIndeed."
    assert answer_of(reply, ["\n\n"]) == "Four."
    assert cut_answer(reply, ["\n\n", "Indeed"]) == "<think>one\n\ntwo\n\n</think>Four."
    assert answer_of("<think>one\n\ntwo", ["\n\n"]) == ""
    assert cut_answer("<think>one\n\ntwo", ["\n\n"]) == "<think>one\n\ntwo"


def test_a_thought_that_the_prompt_begins():
    assert begun_thought("<|im_start|>assistant\n<think>\n") == "<think>"
    assert begun_thought("<|im_start|>assistant\n<think>\n\n</think>\n\n") == ""
    assert after_thought(begun_thought("assistant\n<think>\n") + "still at it") is None
