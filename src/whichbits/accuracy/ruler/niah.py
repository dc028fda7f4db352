"""Needles in a haystack: sentences that give a key a value, hidden in a text; the values of some keys are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from whichbits.accuracy.ruler.draft import Draft
from whichbits.accuracy.ruler.haystack import NOISE, Haystack, noise
from whichbits.accuracy.ruler.vocabulary import Value, different, draw

REQUEST = (
    "Some special magic {type} are hidden within the following text. Make sure to memorize it. I will quiz you about the "
    "{type} afterwards.\n{context}\nWhat are all the special magic {type} for {query} mentioned in the provided text?"
)
REQUEST_OF_ONE = (
    "A special magic {type} is hidden within the following text. Make sure to memorize it. I will quiz you about the "
    "{type} afterwards.\n{context}\nWhat is the special magic {type} for {query} mentioned in the provided text?"
)
BEGUN = "The special magic {type} for {query} mentioned in the provided text are"
BEGUN_OF_ONE = "The special magic {type} for {query} mentioned in the provided text is"
NEEDLE = "One of the special magic {type} for {key} is: {value}."

DEPTHS = 40
"""Places in running text at which a needle may lie, evenly from its beginning to its end."""


@dataclass(frozen=True)
class Needles:
    """What is hidden, in what, and what is asked: RULER's `niah_*` tasks."""

    hay: Literal["noise", "text", "needles"]
    """RULER's repeated sentences, running text, or other needles."""
    keys: Value = "words"
    values: Value = "numbers"
    key_count: int = 1
    value_count: int = 1
    """Values of each key."""
    query_count: int = 1
    """Keys that are asked for."""

    def draft(self, random: Random, text: Haystack) -> Draft:
        """One item."""
        keys = different(random, self.keys, self.key_count)
        drawn = different(random, self.values, self.key_count * self.value_count)
        values = {key: drawn[n * self.value_count : (n + 1) * self.value_count] for n, key in enumerate(keys)}
        needles = [self._needle(key, value) for key in keys for value in values[key]]
        random.shuffle(needles)
        asked = random.sample(keys, self.query_count)
        several = self.query_count * self.value_count > 1
        words = {"type": self.values if several else self.values.removesuffix("s"), "query": _listed(asked)}
        request = (REQUEST if several else REQUEST_OF_ONE).replace("{type}", words["type"]).replace("{query}", words["query"])
        before, after = request.split("{context}")
        depths = sorted(random.sample(range(DEPTHS), len(needles)))
        places = sorted(random.random() for _ in needles)
        others = Random(random.getrandbits(64))
        made: list[str] = []

        def write(units: int) -> str:
            if self.hay == "text":
                sentences = text.first(units)
                at = [len(sentences) * depth // (DEPTHS - 1) for depth in depths]
                return f"{before}{' '.join(_inserted(sentences, at, needles))}{after}"
            if self.hay == "needles":
                while len(made) < units:
                    made.append(self._other(others, keys))
                lines = made[:units]
            else:
                lines = noise(units)
            at = [int(place * (len(lines) + 1)) for place in places]
            return f"{before}{chr(10).join(_inserted(lines, at, needles))}{after}"

        return Draft(
            write=write,
            begun=(BEGUN if several else BEGUN_OF_ONE).format(**words),
            answers=tuple(value for key in asked for value in values[key]),
            least=len(NOISE) if self.hay == "noise" else len(needles),
            most=10_000_000,
        )

    def _needle(self, key: str, value: str) -> str:
        return NEEDLE.format(type=self.values, key=key, value=value)

    def _other(self, random: Random, keys: list[str]) -> str:
        """A needle for a key that is not asked for."""
        while (key := draw(random, self.keys)) in keys:
            continue
        return self._needle(key, draw(random, self.values))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + ", and " + names[-1] if len(names) > 1 else names[0]


def _inserted(texts: list[str], places: list[int], needles: list[str]) -> list[str]:
    """The texts with each needle before the text at its place; places are in order."""
    found, start = list[str](), 0
    for place, needle in zip(places, needles, strict=True):
        found += [*texts[start:place], needle]
        start = place
    return found + texts[start:]
