"""What single replies are: how long, cut, and repetitive by the definition that is stated."""

from __future__ import annotations

import random
import time

import pytest

from whichbits.accuracy.replies.measure import Reply
from whichbits.accuracy.replies.registry import MEASURES, reply_measures
from whichbits.accuracy.replies.repetitive import LEAST, repeats_to_its_end


def values(reply: Reply) -> dict[str, float | None]:
    return {each.described.key: each.of(reply) for each in reply_measures()}


def test_all_measures_of_a_reply():
    assert values(Reply("<think>so it is</think>\n\nFour.", 12, "stop")) == {
        "words": 4.0, "tokens": 12.0, "truncated": 0.0, "repetitive": 0.0,
    }  # fmt: skip
    assert values(Reply("wait, " * 40, 80, "length")) == {"words": 40.0, "tokens": 80.0, "truncated": 1.0, "repetitive": 1.0}
    assert values(Reply("", 0, "stop")) == {"words": 0.0, "tokens": 0.0, "truncated": 0.0, "repetitive": 0.0}


def by_definition(text: str) -> bool:
    """The definition, word for word: some end of L ≥ 64 characters has a period p ≤ (L + 1) / 3, with a letter or digit."""
    text = " ".join(text.split())
    for length in range(LEAST, len(text) + 1):
        end = text[-length:]
        if any(c.isalnum() for c in end) and any(end[p:] == end[:-p] for p in range(1, (length + 1) // 3 + 1)):
            return True
    return False


def test_repetition_is_what_the_definition_says():
    draw = random.Random(0)
    texts = []
    for _ in range(400):
        unit = "".join(draw.choice("ab -") for _ in range(draw.randint(1, 30)))
        texts.append(
            "".join(draw.choice("abc ") for _ in range(draw.randint(0, 60)))
            + unit * draw.randint(1, 6)
            + unit[: draw.randint(0, len(unit))]
            + "".join(draw.choice("ab") for _ in range(draw.choice([0, 0, 1, 30])))
        )
    found = [repeats_to_its_end(text) for text in texts]
    assert found == [by_definition(text) for text in texts]
    assert 50 < sum(found) < 350


@pytest.mark.parametrize(
    ("text", "repetitive"),
    [
        ("I should check the sum again. " * 3, True),
        ("I should check the sum again. " * 2, False),
        ("x = 1\n" + "Let me reconsider the problem from the start.\n" * 4 + "Let me recon", True),
        ("我们再检查一遍这个答案是否正确。" * 6, True),
        ("a" * 64, True),
        ("a" * 63, False),
        ("-" * 200, False),
        ("Let me reconsider. " * 30 + "The answer is four, and this time it is final.", False),
        (" ".join(f"Step {n} is done." for n in range(40)), False),
        ("def f(n):\n    return [0, 0, 0, 0, 0, 0, 0, 0][n]\n\nassert f(0) == 0\nassert f(1) == 0\nassert f(2) == 0\n", False),
    ],
)  # fmt: skip
def test_repetition_of_texts_as_they_come(text: str, repetitive: bool):
    assert repeats_to_its_end(text) is repetitive


def test_a_long_reply_takes_no_time():
    draw = random.Random(1)
    text = "".join(draw.choice("ab ") for _ in range(200_000))
    began = time.process_time()
    assert not repeats_to_its_end(text)
    assert repeats_to_its_end("a b" * 70_000)
    assert time.process_time() - began < 2


def test_a_measure_from_elsewhere_is_among_them():
    from whichbits.accuracy.replies.measure import ReplyMeasure
    from whichbits.schema.metrics import Measure

    class Lines(ReplyMeasure):
        described = Measure(key="lines", title="Lines a reply", better="neither")

        def of(self, reply: Reply) -> float:
            return float(reply.text.count("\n") + 1)

    MEASURES.register("lines", Lines)
    try:
        assert values(Reply("a\nb", 2, "stop"))["lines"] == 2.0
    finally:
        MEASURES._registered.clear()
