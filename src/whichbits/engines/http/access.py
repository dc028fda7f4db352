"""What a server asks of its clients beside a request: a key, and headers of the user's own, as a gateway wants them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from whichbits.core.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
HEADERS_VARIABLE = "WHICHBITS_HEADERS"

OURS = frozenset({"accept", "connection", "content-length", "content-type", "host", "transfer-encoding"})
"""Headers that the client itself sets, as a request needs them."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, a token


@dataclass(frozen=True)
class Access:
    """A key, sent as a bearer token, and further headers, an `Authorization` among them in place of the key.

    They are in no representation and no message. Raises UserError where no request can carry them.
    """

    key: str | None = field(default=None, repr=False)
    further: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        key = self.key.strip() if self.key else None
        if key and not _fits(key):
            raise UserError(f"{KEY_VARIABLE} holds characters that no HTTP header can carry", remedy="set it to the key alone")
        object.__setattr__(self, "key", key or None)
        for name, value in self.further.items():
            if not _NAME.fullmatch(name) or name.lower() in OURS or not _fits(value):
                raise UserError(
                    f"{HEADERS_VARIABLE}: {name!r} is no header of your own, or has characters that no header can carry",
                    remedy=f"leave it out; not yours to set are {', '.join(sorted(OURS))}",
                )

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers of every request."""
        named = {name.lower() for name in self.further}
        key = {"Authorization": f"Bearer {self.key}"} if self.key and "authorization" not in named else {}
        return {**key, **self.further}


OPEN = Access()
"""Of a server that asks for nothing."""


def access_from_environment() -> Access:
    """The key of `OPENAI_API_KEY` and the headers of `WHICHBITS_HEADERS`, a JSON object. Raises UserError."""
    text = os.environ.get(HEADERS_VARIABLE)
    try:
        further = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        further = None
    if not isinstance(further, dict) or not all(isinstance(value, str) for value in further.values()):
        raise UserError(
            f"{HEADERS_VARIABLE} is no JSON object of texts", remedy="""write it as '{"X-Team": "search", "api-key": "..."}'"""
        )
    return Access(os.environ.get(KEY_VARIABLE), further)


def _fits(value: str) -> bool:
    return value.isascii() and value.isprintable()
