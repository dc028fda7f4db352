"""`whichbits doctor`: what a study finds on this machine, and how much load its client can make."""

from __future__ import annotations

import uuid

from whichbits.core.errors import UserError
from whichbits.engines.doctor import Check
from whichbits.engines.doctor import doctor as examine
from whichbits.engines.http.access import access_from_environment
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.identity import reach
from whichbits.engines.http.scorable import why_not_scored
from whichbits.studies.store.place import Place, is_object_store, open_store
from whichbits.studies.store.store import Store

FEW_STREAMS = 50


def doctor(store: Place | None = None, *, url: str | None = None, served_model_name: str | None = None) -> list[Check]:
    """Examine this machine, and measure the load client for two seconds.

    store: a folder where studies are kept, whose disk is looked at (default: this one), or an address of an object store, which
    is read and written. url: where a server serves a model, which is asked a few short completions; served_model_name: the name
    it does so under, where it lists several.
    """
    served = [] if url is None else _server(url, served_model_name)
    if store is None:
        return [*examine(), _client(), *served]
    if not is_object_store(store):
        return [*examine(open_store(store).folder), _client(), *served]
    return [*examine(), _reached(open_store(store)), _client(), *served]


def _server(url: str, model: str | None) -> list[Check]:
    """What a server at an address can do of what speeds and scores ask for."""
    try:
        connection = reach(Connection(url, model, access_from_environment()))
    except UserError as error:
        return [Check("server", "fail", error.message, error.remedy)]
    return [_speeds(connection), _generated(connection), _logprobs(connection)]


def _speeds(connection: Connection) -> Check:
    try:
        from whichbits.serving.opening import ask_once
    except ModuleNotFoundError as error:
        return Check("server: speeds", "warn", f"{error.name} is not installed", "pip install 'whichbits[measure]'")
    try:
        found = ask_once(connection)
    except UserError as error:
        return Check("server: speeds", "fail", error.message, error.remedy)
    if found.instead:
        return Check("server: speeds", "ok", f"the server {'; '.join(found.instead)}")
    return Check("server: speeds", "ok", "prompts are token ids, and outputs have the length that is asked for")


def _generated(connection: Connection) -> Check:
    if (why := why_not_scored(connection, logprobs=False)) is None:
        return Check("server: answers", "ok", "prompts of tasks are continued")
    return Check("server: answers", "warn", why, "measure speeds there, and score the checkpoint in an engine that is started")


def _logprobs(connection: Connection) -> Check:
    if (why := why_not_scored(connection, logprobs=True)) is None:
        return Check("server: log-probabilities", "ok", "of given tokens")
    return Check(
        "server: log-probabilities", "warn", why, "score tasks whose answers are generated, as recall, needle, copy, order"
    )


def _reached(store: Store) -> Check:
    """Whether an object store can be read and written."""
    folder = f"doctor-{uuid.uuid4().hex}"
    try:
        store.leave(f"{folder}/note", folder)
        seen = store.left(f"{folder}/note") == folder
        store.forget(folder)
    except OSError as error:
        return Check("store", "fail", f"{store.place}: {error.strerror or error}", "see AWS_ENDPOINT_URL and the access keys")
    if not seen:
        return Check("store", "fail", f"{store.place}: what is written is not read", "use a store with strong consistency")
    return Check("store", "ok", store.place)


def _client() -> Check:
    """How many streams of 50 tokens a second the client keeps up."""
    try:
        from whichbits.serving.ceiling import client_ceiling
    except ModuleNotFoundError as error:
        return Check(
            "load client", "warn", f"{error.name} is not installed", "pip install 'whichbits[measure]' to measure speeds"
        )
    found = client_ceiling()
    if found is None:
        return Check("load client", "fail", "nothing arrived from a server on this machine", "allow connections to 127.0.0.1")
    detail = f"{found.streams} streams of 50 tokens a second, with the server on the same {found.cores} processors"
    if found.streams < FEW_STREAMS:
        return Check("load client", "warn", detail, "measure higher loads from another machine, or when this one is idle")
    return Check("load client", "ok", detail)
