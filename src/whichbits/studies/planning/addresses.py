"""Servers that the user names by address: who answers there, asked before anything is planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.formats.format import Format
    from whichbits.schema.engine import EngineIdentity
    from whichbits.studies.specification.engine import Engine


def identities(engine: Engine, names: Mapping[str, object]) -> dict[str, EngineIdentity]:
    """Who answers for each served candidate, by its name.

    `names` maps them to what tells their weights apart. Raises UserError where an address does not answer, is given for two
    candidates of different weights, or runs another engine or another version of it than the first one's: results of different
    engines are not comparable.
    """
    from whichbits.engines.http.access import access_from_environment
    from whichbits.engines.http.connection import Connection
    from whichbits.engines.http.identity import identify

    found: dict[str, EngineIdentity] = {}
    for name, weights in names.items():
        try:
            one = identify(Connection(engine.urls[name], engine.model_name(name), access_from_environment()))
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


def check_caches(servers: Mapping[str, EngineIdentity], formats: Mapping[str, Format], base: str) -> None:
    """Raise UserError where a server's key-value cache is not as its format says: the base's type, or a quantized one.

    Only what vLLM and SGLang say of themselves is known. A base that is emulated has a cache of its own type.
    """
    of_base = _quantized_cache(servers[base].cache_dtype) if base in servers else None
    for name, one in servers.items():
        own = _quantized_cache(one.cache_dtype)
        if formats[name].kv_cache is None:
            alike = own == of_base
        else:
            alike = of_base is None and (own is not None or one.cache_dtype in (None, "auto"))
        if not alike:
            raise UserError(
                f"{name}: the server at {one.address} keeps keys and values in {own or '16 bit'}, "
                f"that of {base} in {of_base or '16 bit'}",
                remedy="start both with the same --kv-cache-dtype; or add +kv-fp8 to the format of the one with fp8",
            )


def _quantized_cache(dtype: str | None) -> str | None:
    """The type of a cache of less than 16 bits; None of one in the model's own type, or of which nothing is known."""
    return None if dtype in (None, "auto", "half", "float16", "bfloat16", "float", "float32") else dtype


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
