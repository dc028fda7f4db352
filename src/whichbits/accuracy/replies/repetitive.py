"""Whether a reply repeats itself to its end.

A reply is repetitive where its end says one thing at least three times in a row: its last L characters have a period p, with
L ≥ 3 p − 1 and L ≥ 64, and hold a letter or a digit. What comes after the third time may be cut off in the middle. Any run of
white space counts as one space; that at the end is taken away, which is why one character may be missing.

This is the repetition of Holtzman et al. (2020, arXiv 1904.09751: a text ends in a phrase of two tokens or more that is said at
least three times), in characters: 64 take the place of the phrase's least length, since programs end in short repetitions
(brackets, a row of zeros) that are none. A loop that the model leaves again, or in which a number counts up,
is not repetitive.
"""

from __future__ import annotations

from typing import ClassVar

from whichbits.accuracy.replies.measure import Reply, ReplyMeasure
from whichbits.schema.metrics import Measure

TIMES = 3
LEAST = 64
"""Characters that are repeated, at least."""


def repeats_to_its_end(text: str) -> bool:
    """Whether the end of a text says one thing at least `TIMES` times, in `LEAST` characters or more.

    In time linear in the text: what is a suffix of the text is a prefix of it reversed, and the smallest period of each prefix
    is its length less that of its longest border (Knuth, Morris and Pratt 1977).
    """
    reversed_text = " ".join(text.split())[::-1]
    borders = [0] * len(reversed_text)
    border, letters = 0, 0
    for place, character in enumerate(reversed_text):
        letters += character.isalnum()
        if place:
            while border and character != reversed_text[border]:
                border = borders[border - 1]
            border += character == reversed_text[border]
            borders[place] = border
        length = place + 1
        if length >= LEAST and letters and TIMES * (length - border) <= length + 1:
            return True
    return False


class Repetitive(ReplyMeasure):
    """A reply whose end says one thing three times or more."""

    described: ClassVar[Measure] = Measure(key="repetitive", title="Repetitive replies", unit="%", better="lower")

    def of(self, reply: Reply) -> float:
        """1 where it repeats itself to its end, else 0."""
        return float(repeats_to_its_end(reply.text))
