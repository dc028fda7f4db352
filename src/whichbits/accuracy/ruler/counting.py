"""Lists in which some words occur more often than others, which are asked for: common words (`cwe`), coded words (`fwe`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from random import Random
from string import ascii_lowercase

from whichbits.accuracy.ruler.draft import Draft
from whichbits.accuracy.ruler.haystack import Haystack
from whichbits.accuracy.ruler.vocabulary import pairs, words

COMMON_REQUEST = (
    "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear most "
    "often.\n{context}\nQuestion: What are the 10 most common words in the above list?"
)
COMMON_BEGUN = "Answer: The top 10 words that appear most often in the list are:"
CODED_REQUEST = (
    "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded "
    "words. {context}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most "
    "frequently appeared words in the above coded text?"
)
CODED_BEGUN = "Answer: According to the coded text above, the three most frequently appeared words are:"

COMMON = 10
OFTEN, SELDOM = 30, 3
"""Occurrences of a common word, and of another."""
SHOWN_OFTEN, SHOWN_OTHERS = 10, 30
"""In the worked example: occurrences of a common word; words that are not common."""
CODE_LETTERS = 6
TOKENS_A_CODE = 50
"""Tokens of the whole length for each coded word of the vocabulary."""
ZETA_2 = pi**2 / 6
MOST_WORDS = 100_000_000


def common_words(random: Random, _text: Haystack) -> Draft:
    """One item, after a worked example; a unit is an occurrence of a word that is not common.

    Where the list of plain words ends, words that are not common are pairs of words with a hyphen.
    """
    shown = random.sample(words(), COMMON + SHOWN_OTHERS)
    shown_list = shown[:COMMON] * SHOWN_OFTEN + shown[COMMON:] * SELDOM
    random.shuffle(shown_list)
    example = f"{_common_request(shown_list)} {COMMON_BEGUN} {_numbered(shown[:COMMON])}\n"
    plain = random.sample(words(), len(words()))
    common = _apart(plain)
    others = [word for word in plain if word not in common]
    more = Random(random.getrandbits(64))
    seen = set(others)
    seed = random.getrandbits(64)

    def write(units: int) -> str:
        whole, rest = divmod(units, SELDOM)
        while len(others) <= whole:
            pair = more.choice(pairs())
            if pair not in seen:
                seen.add(pair)
                others.append(pair)
        listed = common * OFTEN + others[:whole] * SELDOM + others[whole : whole + 1] * rest
        Random(seed).shuffle(listed)
        return example + _common_request(listed)

    return Draft(
        write=write, begun=COMMON_BEGUN, answers=tuple(common), least=SELDOM, most=SELDOM * (len(others) + len(pairs()) - 1)
    )


def _apart(plain: Sequence[str]) -> list[str]:
    """The first words of which none is part of another: they are looked for in the reply's text."""
    found: list[str] = []
    for word in plain:
        if not any(word in other or other in word for other in found):
            found.append(word)
        if len(found) == COMMON:
            break
    return found


def _common_request(listed: Sequence[str]) -> str:
    return COMMON_REQUEST.format(context=_numbered(listed))


def _numbered(listed: Sequence[str]) -> str:
    return " ".join(f"{number}. {word}" for number, word in enumerate(listed, start=1))


def coded_words(random: Random, length: int) -> Draft:
    """One item at a length in tokens; a unit is a word of the whole text.

    The word of rank k occurs as often as Zipf's law with exponent 2 says, 1/(ζ(2) k²) of the text, rounded down; the first rank
    are dots.
    """
    codes: dict[str, None] = {}
    while len(codes) < max(10, length // TOKENS_A_CODE):
        codes["".join(random.choices(ascii_lowercase, k=CODE_LETTERS))] = None
    ranked = ["...", *list(codes)[1:]]
    seed = random.getrandbits(64)

    def write(units: int) -> str:
        listed = [word for rank, word in enumerate(ranked, start=1) for _ in range(int(units / (ZETA_2 * rank**2)))]
        Random(seed).shuffle(listed)
        return CODED_REQUEST.format(context=" ".join(listed))

    return Draft(write=write, begun=CODED_BEGUN, answers=tuple(ranked[1:4]), least=100, most=MOST_WORDS)
