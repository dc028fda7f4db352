"""Words, numbers and identifiers that items are made of."""

from __future__ import annotations

import uuid
from functools import cache
from importlib.resources import files
from random import Random
from typing import Literal

import yaml

Value = Literal["words", "numbers", "uuids"]


@cache
def lists(name: str) -> dict[str, list[str]]:
    """Lists of words of a file of `suites/words`."""
    text = (files("whichbits.accuracy") / "suites" / "words" / f"{name}.yaml").read_text(encoding="utf-8")
    found: dict[str, list[str]] = yaml.safe_load(text)
    return found


@cache
def words() -> tuple[str, ...]:
    """Plain words of all kinds, each once, sorted."""
    ours = lists("ruler")
    return tuple(sorted({*ours["adjectives"], *ours["nouns"], *ours["verbs"], *lists("english")["nouns"]}))


@cache
def pairs() -> tuple[str, ...]:
    """An adjective and a noun with a hyphen, all of them, sorted."""
    ours = lists("ruler")
    nouns = sorted({*ours["nouns"], *lists("english")["nouns"]})
    return tuple(f"{adjective}-{noun}" for adjective in sorted(ours["adjectives"]) for noun in nouns)


def draw(random: Random, kind: Value) -> str:
    """A pair of words, a number of seven digits, or a UUID (version 4)."""
    if kind == "words":
        return random.choice(pairs())
    if kind == "numbers":
        return str(random.randint(1_000_000, 9_999_999))
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def different(random: Random, kind: Value, count: int) -> list[str]:
    """So many different ones."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw(random, kind)] = None
    return list(found)
