"""The running text that needles lie in: the user's, published essays, or sentences made here."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random

from whichbits.accuracy.problem_files import optional_files
from whichbits.accuracy.ruler.vocabulary import lists
from whichbits.core.errors import UserError
from whichbits.core.text import parse_json, read_bytes

PLACES = ("haystack.txt", "PaulGrahamEssays.json")
"""Names in the data directory, or in a folder in it: any text, or the essays as RULER's own script gathers them."""

NOISE = ("The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again.")
"""RULER's repeated sentences."""

LEAST_WORDS = 100
OURS = 20_000
"""Sentences made here: about 290,000 words, so that the longest prompt repeats none."""


@dataclass(frozen=True)
class Haystack:
    """A text as sentences; `name` says which it is."""

    name: str
    sentences: tuple[tuple[str, ...], ...]
    """Words of each sentence."""
    ends: tuple[int, ...]
    """Words up to the end of each sentence."""

    @classmethod
    def of(cls, name: str, sentences: Sequence[str]) -> Haystack:
        """From sentences."""
        split = tuple(tuple(sentence.split()) for sentence in sentences)
        return cls(name, split, tuple(accumulate(map(len, split))))

    @property
    def words(self) -> int:
        """Words of the whole text."""
        return self.ends[-1]

    def first(self, count: int) -> list[str]:
        """Its first `count` words as sentences, the last one cut; the text begins again where it is too short."""
        whole, rest = divmod(count, self.words)
        cut = bisect_right(self.ends, rest)
        found = [" ".join(sentence) for sentence in [*self.sentences * whole, *self.sentences[:cut]]]
        left = rest - (self.ends[cut - 1] if cut else 0)
        return [*found, " ".join(self.sentences[cut][:left])] if left else found


def noise(count: int) -> list[str]:
    """RULER's sentences `count` times over, five a line; the last line may have fewer."""
    lines, rest = divmod(count, len(NOISE))
    return [" ".join(NOISE)] * lines + ([" ".join(NOISE[:rest])] if rest else [])


def haystack_file(data_dir: Path | None) -> Path | None:
    """The user's text or the essays, where the data directory has one. Raises UserError where it has several."""
    found = [] if data_dir is None else optional_files(data_dir, PLACES)
    if len(found) > 1:
        raise UserError(f"data_dir: the haystack is in {found[0]} and in {found[1]}", remedy="keep one of the two files")
    return found[0] if found else None


def haystack(data_dir: Path | None) -> Haystack:
    """The text of the data directory, else ours. Raises UserError where the file has no text to speak of."""
    file = haystack_file(data_dir)
    if file is None:
        return ours()
    where = f"data_dir: {file}"
    content = read_bytes(file, where)
    if file.suffix == ".json":
        found = parse_json(content, where, form="an object with a field text")
        text = found.get("text") if isinstance(found, dict) else None
    else:
        text = content.decode("utf-8", "replace")
    if not isinstance(text, str) or len(text.split()) < LEAST_WORDS:
        raise UserError(f"{where} has fewer than {LEAST_WORDS} words of text", remedy="name a file with plain text")
    return Haystack.of(file.name, re.split(r"(?<=[.!?])\s+", text.strip()))


@cache
def ours() -> Haystack:
    """Sentences drawn from a fixed seed, the same for every item as essays are."""
    random, words, english = Random("ruler/haystack/1"), lists("ruler"), lists("english")
    made = []
    for _ in range(OURS):
        noun, other = random.sample(words["nouns"], 2)
        name, adjective = random.choice(english["names"]), random.choice(words["adjectives"])
        sentence = random.choice(words["sentences"]).format(name=name, noun=noun, other=other, adjective=adjective)
        made.append(sentence)
    return Haystack.of("sentences made here", made)
