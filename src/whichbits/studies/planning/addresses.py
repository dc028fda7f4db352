"""Servers that the user names by address: who answers there, asked before anything is planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.schema.engine import EngineIdentity
    from whichbits.studies.specification.engine import Engine


def identities(engine: Engine, names: Mapping[str, object]) -> dict[str, EngineIdentity]:
    """Who answers for each served candidate, by its name.

    `names` maps them to what tells their weights apart. Raises UserError where an address does not answer, is given for two
    candidates of different weights, or runs another engine or another version of it than the first one's: results of different
    engines are not comparable.
    """
    from whichbits.engines.http.connection import Connection, key_from_environment
    from whichbits.engines.http.identity import identify

    found: dict[str, EngineIdentity] = {}
    for name, weights in names.items():
        try:
            one = identify(Connection(engine.urls[name], engine.model_name(name), key_from_environment()))
        except UserError as error:
            raise UserError(f"{name}: {error.message}", remedy=error.remedy) from error
        for other, before in found.items():
            if (before.address, before.model) == (one.address, one.model) and names[other] != weights:
                raise UserError(
                    f"{name}: {one.address} serves {one.model} for {other} already, whose weights are others",
                    remedy="give each candidate the address, or the served name, of a server of its own",
                )
            if (before.engine, before.version) != (one.engine, one.version):
                raise UserError(
                    f"{name}: the server at {one.address} is {_engine(one)}, that of {other} is {_engine(before)}",
                    remedy="serve all candidates with one version of one engine: else formats are not all that is compared",
                )
        found[name] = one
    return found


def _engine(identity: EngineIdentity) -> str:
    return " ".join(word for word in (identity.engine or "an unnamed engine", identity.version) if word)


def longest_request(servers: Mapping[str, EngineIdentity], needed: int) -> int | None:
    """Tokens that all servers take in a request; None where none says. Raises UserError where one takes less than `needed`."""
    stated = {name: one.max_length for name, one in servers.items() if one.max_length is not None}
    for name, length in stated.items():
        if length < needed:
            raise UserError(
                f"{name}: the server at {servers[name].address} takes {length} tokens, and the study's requests have {needed}",
                remedy=f"start it with a longer context (vLLM: --max-model-len {needed}), or ask for shorter requests",
            )
    return min(stated.values(), default=None)
