"""`whichbits doctor`: what a study finds on this machine, and how much load its client can make."""

from __future__ import annotations

import uuid

from whichbits.engines.doctor import Check
from whichbits.engines.doctor import doctor as examine
from whichbits.studies.store.place import Place, is_object_store, open_store
from whichbits.studies.store.store import Store

FEW_STREAMS = 50


def doctor(store: Place | None = None) -> list[Check]:
    """Examine this machine, and measure the load client for two seconds.

    store: a folder where studies are kept, whose disk is looked at (default: this one), or an address of an object store, which
    is read and written.
    """
    if store is None:
        return [*examine(), _client()]
    if not is_object_store(store):
        return [*examine(open_store(store).folder), _client()]
    return [*examine(), _reached(open_store(store)), _client()]


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
