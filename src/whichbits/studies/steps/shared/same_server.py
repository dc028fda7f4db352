"""Whether the server that a plan was made for still answers at its address, asked as a step runs."""

from __future__ import annotations

from dataclasses import fields

from whichbits.core.errors import UserError
from whichbits.schema.engine import EngineIdentity


def check_same(name: str, expected: EngineIdentity) -> None:
    """Raise UserError where the server that a plan was made for is not the one that answers there now."""
    from whichbits.engines.http.access import access_from_environment
    from whichbits.engines.http.connection import Connection
    from whichbits.engines.http.identity import identify

    now = identify(Connection(expected.address, expected.model, access_from_environment()))
    for field in (each.name for each in fields(EngineIdentity)):
        before, value = getattr(expected, field), getattr(now, field)
        if before != value:
            raise UserError(
                f"the server of {name} at {now.address} has changed: its {field} was {before}, and is {value}",
                remedy="run the study again, with the server as it shall stay",
            )
