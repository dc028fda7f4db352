"""What two records do not share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from names import RENAMED


@dataclass
class Comparison:
    """What two records do not share; `added` alone is no difference."""

    same: int = 0
    differences: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """All of it for a terminal."""
        yield from self.notes
        yield from self.differences
        if self.added:
            yield f"{len(self.added)} entries are in the second record alone, such as {self.added[0]}"
        yield f"{self.same} entries are the same, {len(self.differences)} differ"


def compare(old: dict[str, Any], new: dict[str, Any], only: Sequence[str] | None = None) -> Comparison:
    """dict[str, Any] of the first record that the second does not have alike; of `only` these parts."""
    found = Comparison()
    before, after = ({k: v for k, v in r["entries"].items() if not only or k.split("/")[0] in only} for r in (old, new))
    for name, value in old["machine"].items():
        if new["machine"].get(name) != value:
            found.notes.append(f"the records are of different machines: {name} is {value} and {new['machine'].get(name)}")
    places = {key: _renamed(key) for key in before}
    rest = {key: value for key, value in after.items() if key not in places.values()}
    for key, value in before.items():
        place = places[key]
        if place not in after:
            at = [other for other, number in rest.items() if number == value and other.split("/")[0] == key.split("/")[0]]
            found.differences.append(f"{key}: missing" + (f" (the same is at {at[0]})" if at and "verdict" in key else ""))
        elif after[place] == value:
            found.same += 1
        else:
            found.differences.extend(f"{key}{line}" for line in _differences(value, after[place]))
    found.added = [*rest]
    return found


def _renamed(key: str) -> str:
    """The key of the second record for one of the first."""
    for pattern, name in RENAMED:
        key = re.sub(pattern, name, key)
    return key


def _differences(old: Any, new: Any) -> Iterator[str]:
    """Where two values differ, as a path and both."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old or key not in new:
                yield f" {key}: {'missing' if key not in new else 'only in the second'}"
            elif old[key] != new[key]:
                yield from (f" {key}{line}" for line in _differences(old[key], new[key]))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        wrong = [i for i, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
        yield f": {len(wrong)} of {len(old)} differ, first [{wrong[0]}]: {old[wrong[0]]!r} became {new[wrong[0]]!r}"
    else:
        yield f": {old!r:.100} became {new!r:.100}"
