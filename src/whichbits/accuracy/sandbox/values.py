"""Python values as one line of JSON, built from the plain types alone: nothing of a sender's classes reaches the receiver."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from .libraries import plain_number

MAX_LINE = 1 << 22
"""Largest line, in bytes, that either side reads."""


class Matched:
    """That a regular expression matched: what is left of a match object, which equals nothing but itself."""


def dumps(value: object) -> str:
    """One line of JSON; raises TypeError for a value that is not built of plain types."""
    return json.dumps(_encode(value))


def loads(line: str) -> Any:
    """The value of a line; raises ValueError, TypeError, KeyError or RecursionError for one that `dumps` does not write."""
    return _decode(json.loads(line))


def _encode(value: object) -> object:
    value = plain_number(value)
    if value is None or isinstance(value, bool):
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)  # of a subclass the plain value
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": list(value)}
    if isinstance(value, re.Match):
        return {"match": []}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        return {"dict": [[_encode(key), _encode(item)] for key, item in value.items()]}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [_encode(item) for item in value]}
    if isinstance(value, Iterator):
        return {"iterator": [_encode(item) for item in value]}
    raise TypeError(f"a {type(value).__name__} is not a plain value")


MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "bytes": bytes, "iterator": iter, "dict": dict,
    "complex": lambda parts: complex(*parts), "range": lambda parts: range(*parts),
    "match": lambda _: Matched(),
}  # fmt: skip


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return MAKERS[kind]([_decode(item) for item in content])
    if isinstance(value, list):  # a key and its item
        return [_decode(item) for item in value]
    return value
