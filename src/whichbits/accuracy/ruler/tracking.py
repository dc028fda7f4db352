"""Variable tracking: a value handed from variable to variable within repeated sentences; all that hold it are asked for."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from string import ascii_uppercase

from whichbits.accuracy.ruler.draft import Draft
from whichbits.accuracy.ruler.haystack import NOISE, Haystack, noise

REQUEST = (
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\n"
    "Question: Find all variables that are assigned the value {value} in the text above."
)
BEGUN = (  # the spelling is RULER's
    "Answer: According to the chain(s) of variable assignment in the text above, {count} variables are assgined the value "
    "{value}, they are:"
)
HOPS = 4
SHOWN_UNITS = 5 * len(NOISE)
"""Sentences around the worked example's chain."""


def draft(random: Random, _text: Haystack) -> Draft:
    """One item, after a worked example with names of three letters."""
    shown = _chain(random, letters=3)
    example = f"{_request(shown, SHOWN_UNITS)} {_begun(shown)} {' '.join(shown.names)}\n\n"
    chain = _chain(random, letters=5)
    return Draft(
        write=lambda units: f"{example}\n\n{_request(chain, units)}",
        begun=_begun(chain),
        answers=tuple(chain.names),
        least=len(NOISE),
        most=10_000_000,
    )


class _Chain:
    """Variables in the order of their assignment, the value, and where the assignments stand, as shares of the text."""

    def __init__(self, names: list[str], value: int, places: list[float]) -> None:
        self.names, self.value, self.places = names, value, places
        self.lines = [f"VAR {names[0]} = {value}", *(f"VAR {new} = VAR {old} " for old, new in pairwise(names))]


def _chain(random: Random, *, letters: int) -> _Chain:
    names: dict[str, None] = {}
    while len(names) <= HOPS:
        names["".join(random.choices(ascii_uppercase, k=letters))] = None
    return _Chain(list(names), random.randint(10_000, 99_998), sorted(random.random() for _ in names))


def _request(chain: _Chain, units: int) -> str:
    groups = [f"{line}\n" for line in noise(units)]
    for before, (place, line) in enumerate(zip(chain.places, chain.lines, strict=True)):
        groups.insert(before + int(place * (len(groups) - before + 1)), line)
    context = " ".join(groups).replace(". \n", ".\n")
    return REQUEST.format(context=context, value=chain.value)


def _begun(chain: _Chain) -> str:
    return BEGUN.format(count=len(chain.names), value=chain.value)
