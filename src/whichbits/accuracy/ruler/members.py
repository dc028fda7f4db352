"""RULER's 13 tasks by name, with the answers' lengths and how they are matched; settings are those of its `synthetic.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from whichbits.accuracy.ruler import counting, tracking
from whichbits.accuracy.ruler.draft import Draft
from whichbits.accuracy.ruler.haystack import Haystack
from whichbits.accuracy.ruler.niah import Needles
from whichbits.accuracy.ruler.questions import FILES, draft, question_set


@dataclass(frozen=True)
class Member:
    """One of RULER's tasks. Of `make` and `coded` one is given, or neither for a set of questions."""

    name: str
    max_tokens: int
    """Tokens of the answer."""
    make: Callable[[Random, Haystack], Draft] | None = None
    coded: Callable[[Random, int], Draft] | None = None
    """A draft that depends on the length in tokens."""

    @property
    def asks(self) -> bool:
        """Whether it is a set of questions, read from a file."""
        return self.name in FILES


def _niah(name: str, needles: Needles) -> Member:
    return Member(f"niah_{name}", 128, make=needles.draft)


MEMBERS: Mapping[str, Member] = {
    member.name: member
    for member in (
        _niah("single_1", Needles("noise")),
        _niah("single_2", Needles("text")),
        _niah("single_3", Needles("text", values="uuids")),
        _niah("multikey_1", Needles("text", key_count=4)),
        _niah("multikey_2", Needles("needles")),
        _niah("multikey_3", Needles("needles", keys="uuids", values="uuids")),
        _niah("multivalue", Needles("text", value_count=4)),
        _niah("multiquery", Needles("text", key_count=4, query_count=4)),
        Member("vt", 30, make=tracking.draft),
        Member("cwe", 120, make=counting.common_words),
        Member("fwe", 50, coded=counting.coded_words),
        Member("qa_1", 32),
        Member("qa_2", 32),
    )
}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": tuple(MEMBERS),
    "synthetic": tuple(name for name, member in MEMBERS.items() if not member.asks),
}


@dataclass(frozen=True)
class Drafts:
    """Drafts of a member's items, each a function of seed, length and its number alone."""

    member: Member
    length: int
    seed: str
    text: Haystack
    data_dir: Path | None

    def count(self, wanted: int) -> int:
        """How many items there are of those wanted: a set of questions may have fewer."""
        return min(wanted, len(question_set(self.member.name, self.data_dir).questions)) if self.member.asks else wanted

    def draft(self, number: int) -> Draft:
        """The item of that number, from 0."""
        random = Random(f"{self.seed}/{self.length}/{self.member.name}/{number}")
        if self.member.make is not None:
            return self.member.make(random, self.text)
        if self.member.coded is not None:
            return self.member.coded(random, self.length)
        found = question_set(self.member.name, self.data_dir)
        return draft(random, found.questions[number], found)


def match(reply: str, answers: Sequence[str], *, every: bool) -> float:
    """Share of the answers that the reply names; 1 where it names any of them if not `every` one is asked for.

    Without regard to case, anywhere in the reply: RULER's `string_match_all` and `string_match_part`.
    """
    said = reply.lower()
    found = [answer.lower() in said for answer in answers]
    return sum(found) / len(found) if every else float(any(found))
