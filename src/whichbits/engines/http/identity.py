"""What answers at an address: served name, engine and its version, longest request; and whether it is still the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

from whichbits.core.errors import UserError
from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.prometheus import cache_settings, read_metrics
from whichbits.engines.http.requests import HttpClient
from whichbits.engines.http.retry import Patience
from whichbits.schema.engine import EngineIdentity

_STARTED = "process_start_time_seconds"
_BRIEF = Patience(total_s=5.0, lost_s=0.0)
"""For questions that most servers have no answer to."""


@dataclass(frozen=True)
class ServedModel:
    """An entry of /v1/models."""

    name: str
    root: str | None = None
    max_length: int | None = None
    owner: str | None = None


@dataclass(frozen=True)
class _Engine:
    name: str | None
    version: str | None = None
    max_length: int | None = None
    cache_dtype: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """A server at one moment; `metrics` are the samples of its /metrics by name, empty where it has none."""

    identity: EngineIdentity
    metrics: Mapping[str, float]

    @property
    def started(self) -> float | None:
        """When its process was started, seconds since 1970; None where it does not say."""
        return self.metrics.get(_STARTED)


def served_models(client: HttpClient) -> list[ServedModel]:
    """What /v1/models lists. Raises EngineError where there is no such list."""
    answer = client.get("/v1/models")
    listed = answer.json().get("data")
    if not isinstance(listed, list):
        raise EngineError(f"{answer.address} gives no list of models")
    return [_served_model(entry, answer.address) for entry in listed]


def _served_model(entry: Any, address: str) -> ServedModel:
    name = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        raise EngineError(f"{address} lists a model without a name")
    return ServedModel(name, _text(entry.get("root")), _length(entry), _text(entry.get("owned_by")))


def reach(connection: Connection) -> Connection:
    """The connection with the served name settled: the one given, which must be served, or the only one there is.

    Raises UserError where the server does not answer, lists several and none is named, or does not serve the one named.
    """
    with HttpClient(connection) as client:
        return replace(connection, model=_served(client).name)


def identify(connection: Connection) -> EngineIdentity:
    """Who answers at an address. Raises UserError as `reach` does."""
    with HttpClient(connection) as client:
        return _identity(client)


def snapshot(connection: Connection) -> Snapshot:
    """The server as it is now, to be compared by `changed` with how it is later. Raises UserError as `reach` does.

    Where several servers answer in turn at one address, neither start nor counters of one of them say anything.
    """
    with HttpClient(connection) as client:
        identity = _identity(client)
        try:
            readings = [read_metrics(client) for _ in range(3)]
        except EngineError as error:
            raise UserError(
                f"url {connection.url} has stopped answering: {error}", remedy="see the last lines of the server's log"
            ) from error
    values = readings[-1]
    if any(_restarted(earlier, later) for earlier, later in pairwise(readings)):
        values = {}
    return Snapshot(identity, values)


def changed(before: Snapshot, after: Snapshot) -> str | None:
    """How the server has changed between two moments, in words; None where nothing shows that it has.

    What it said only once shows nothing: it may have been too busy to say it again.
    """
    for field in fields(EngineIdentity):
        name, earlier, later = field.name, getattr(before.identity, field.name), getattr(after.identity, field.name)
        if earlier is not None and later is not None and earlier != later:
            return f"its {name.replace('_', ' ')} was {earlier}, and is {later}"
    if before.metrics and after.metrics and (sign := _restarted(before.metrics, after.metrics)):
        return f"it was started anew ({sign})"
    return None


def _restarted(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """What shows that the process behind two readings of its metrics is not the same; None where nothing does."""
    if abs(after.get(_STARTED, 0.0) - before.get(_STARTED, 0.0)) > 1.0:
        return f"{_STARTED} differs"
    for name, value in before.items():
        if name.endswith("_total") and ":" in name and after.get(name, 0.0) < value:
            return f"{name} went back"
    return None


def _identity(client: HttpClient) -> EngineIdentity:
    served = _served(client)
    with HttpClient(client.connection, patience=_BRIEF) as curious:
        engine = _engine(curious, served)
    longest = served.max_length or engine.max_length
    return EngineIdentity(
        client.connection.url, served.name, engine.name, engine.version, longest, served.root, engine.cache_dtype
    )


def _served(client: HttpClient) -> ServedModel:
    try:
        models = served_models(client)
    except EngineError as error:
        raise UserError(
            f"url {client.connection.url} gives no list of models: {error}",
            remedy="start the server, or correct the url, or the key in OPENAI_API_KEY",
        ) from error
    return _chosen(client.connection, models)


def _chosen(connection: Connection, models: list[ServedModel]) -> ServedModel:
    if not models:
        raise UserError(f"url {connection.url} serves 0 models", remedy="start the server with a model")
    names = ", ".join(model.name for model in models[:20]) + (", ..." if len(models) > 20 else "")
    if connection.model is None:
        if len(models) == 1:
            return models[0]
        raise UserError(
            f"url {connection.url} serves {len(models)} models: {names}",
            remedy="name one by --served-model-name, or by engine.served_model_name in the specification",
        )
    for model in models:
        if model.name == connection.model:
            return model
    raise UserError(
        f"model {connection.model!r} is not served at {connection.url}", remedy=f"it serves {names}; name one of them"
    )


def _engine(client: HttpClient, served: ServedModel) -> _Engine:
    """What each engine tells about itself; None for what it does not tell."""
    owner = (served.owner or "").lower()
    if (info := _json(client, "/get_server_info")) and "model_path" in info:
        length = info.get("context_length") or info.get("max_total_num_tokens")
        return _Engine("sglang", _text(info.get("version")), _number(length), _text(info.get("kv_cache_dtype")))
    if (version := _json(client, "/version")) and "version" in version:
        engine = "tensorrt-llm" if "tensorrt" in owner else "vllm" if owner in ("vllm", "") else owner
        return _Engine(engine, _text(version.get("version")), cache_dtype=_cache_dtype(client))
    if (props := _json(client, "/props")) and "default_generation_settings" in props:
        settings = props.get("default_generation_settings")
        length = settings.get("n_ctx") if isinstance(settings, dict) else None
        return _Engine("llama.cpp", _text(props.get("build_info")), _number(length))
    if (info := _json(client, "/info")) and "model_id" in info:
        length = info.get("max_total_tokens")
        return _Engine("tgi", _text(info.get("version")), _number(length))
    if (version := _json(client, "/api/version")) and "version" in version:
        return _Engine("ollama", _text(version.get("version")))
    return _Engine(re.sub(r"^llamacpp$", "llama.cpp", owner) or None)


def _cache_dtype(client: HttpClient) -> str | None:
    """Of vLLM's key-value cache; None where /metrics is off, or of an older version."""
    try:
        answer = client.find("/metrics")
    except EngineError:
        return None
    return None if answer is None else cache_settings(answer.text).get("cache_dtype")


def _json(client: HttpClient, path: str) -> dict[str, Any] | None:
    """A JSON object at a path that only some engines have; None where there is none, whatever the server does instead."""
    try:
        answer = client.find(path)
        return None if answer is None else answer.json()
    except EngineError:
        return None


def _length(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    return _number(entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None))


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
