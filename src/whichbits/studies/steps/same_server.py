"""Whether the server that a plan was made for still answers at its address, asked as a step runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.engines.http.identity import EngineIdentity


def check_same(name: str, expected: EngineIdentity) -> None:
    """Raise UserError where the server that a plan was made for is not the one that answers there now."""
    from whichbits.engines.http.connection import Connection, key_from_environment
    from whichbits.engines.http.identity import identify

    now = identify(Connection(expected.address, expected.model, key_from_environment()))
    before = expected.fields()
    for field, value in now.fields().items():
        if before[field] != value:
            raise UserError(
                f"the server of {name} at {now.address} has changed: its {field} was {before[field]}, and is {value}",
                remedy="run the study again, with the server as it shall stay",
            )
