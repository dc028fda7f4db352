"""The measures of replies by name; an installed package adds one by an entry point of the group `whichbits.reply_measures`."""

from __future__ import annotations

from dataclasses import fields

from whichbits.accuracy.replies.measure import ReplyMeasure
from whichbits.core.entry_points import Registry
from whichbits.core.errors import UserError
from whichbits.schema.evaluate import RepliedItem

GROUP = "whichbits.reply_measures"
_HERE = "whichbits.accuracy.replies"

MEASURES: Registry[ReplyMeasure] = Registry(
    "measures",
    "measure of replies",
    GROUP,
    (f"{_HERE}.measure", "ReplyMeasure"),
    {
        "words": (f"{_HERE}.words", "Words"),
        "tokens": (f"{_HERE}.tokens", "Tokens"),
        "truncated": (f"{_HERE}.truncated", "Truncated"),
        "repetitive": (f"{_HERE}.repetitive", "Repetitive"),
    },
    own_name=lambda each: each.described.key,
)


def reply_measures() -> tuple[ReplyMeasure, ...]:
    """All measures. Raises UserError as `Registry.get`, and for one that is called as a column of all items is."""
    columns = {field.name for field in fields(RepliedItem)}
    if taken := sorted(columns & {*MEASURES.names()}):
        raise UserError(
            f"measures: {taken[0]} cannot name a measure of replies: a column of items is called so", remedy="rename it"
        )
    return tuple(MEASURES.get(name) for name in MEASURES.names())


def measure_packages() -> dict[str, str] | None:
    """Versions by name of the packages that bring measures; None where all are ours."""
    return {package: version for name in MEASURES.names() for package, version in MEASURES.packages(name).items()} or None
