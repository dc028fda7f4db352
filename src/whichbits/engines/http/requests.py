"""Blocking HTTP to an engine: the connection's rules, bounded retries, and errors in the server's own words."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from whichbits.engines.errors import EngineError, ServerUnreachable
from whichbits.engines.http.access import HEADERS_VARIABLE, KEY_VARIABLE
from whichbits.engines.http.connection import CONNECT_TIMEOUT_S, Connection
from whichbits.engines.http.retry import PASSING, Patience

MOST_BYTES = 2**28
"""Most bytes of an answer; those to the longest prompts take a few million."""


class ServerRefused(EngineError):
    """The server answered a request with an error; `status` is HTTP's, `words` what it said."""

    def __init__(self, address: str, status: int, words: str, note: str = "") -> None:
        super().__init__(f"{address} answered {status}: {words or 'nothing'}{note}")
        self._arguments = (address, status, words, note)
        self.status = status
        self.words = words

    def __reduce__(self) -> tuple[object, ...]:
        return ServerRefused, self._arguments


@dataclass(frozen=True)
class Answer:
    """A successful answer."""

    address: str
    text: str
    content_type: str

    def json(self) -> dict[str, Any]:
        """The answer as a JSON object. Raises EngineError where it is none, or where it is an error in spite of its status."""
        return parse_json(self.text, self.address, self.content_type)


class HttpClient:
    """Requests to one server, from any number of threads.

    max_connections: requests under way at once. patience: how long a request that was refused for a passing reason, or that
    lost its connection, is tried again.
    """

    def __init__(self, connection: Connection, *, max_connections: int = 1, patience: Patience | None = None) -> None:
        self.connection = connection
        self._patience = patience or Patience()
        self._stopping = threading.Event()
        self._client = httpx.Client(
            headers=dict(connection.headers),
            timeout=httpx.Timeout(connection.timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            proxy=connection.proxy,
            verify=connection.tls or False,  # where nothing speaks TLS there is nothing to verify
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; requests that wait to be tried again end."""
        self.stop_waiting()
        self._client.close()

    def stop_waiting(self) -> None:
        """Let requests that wait to be tried again fail now."""
        self._stopping.set()

    def resume(self) -> None:
        """Let requests be tried again after `stop_waiting`."""
        self._stopping.clear()

    def get(self, path: str) -> Answer:
        """A successful answer. Raises ServerRefused, ServerUnreachable."""
        return self._request("GET", path, None)

    def find(self, path: str) -> Answer | None:
        """A successful answer, None where the server offers nothing there. Raises where it is busy or cannot be reached."""
        try:
            return self.get(path)
        except ServerRefused as error:
            if error.status in PASSING:
                raise
            return None

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        """A successful answer to a JSON body. Raises ServerRefused, ServerUnreachable."""
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Answer:
        address = f"{self.connection.url}{path}"
        waited = 0.0
        attempt = 0
        while True:
            retry_after, lost = None, False
            try:
                with self._client.stream(method, address, json=body) as response:
                    text = self._read(response, address)
                if response.status_code == httpx.codes.OK:
                    return Answer(address, text, response.headers.get("content-type", ""))
                failure: EngineError = refusal(address, response.status_code, text, response.headers.get("location", ""))
                if response.status_code not in PASSING:
                    raise failure
                retry_after = response.headers.get("retry-after")
            except httpx.InvalidURL as error:
                raise ServerUnreachable(f"{address} is no address: {error}") from error
            except (httpx.ConnectTimeout, httpx.NetworkError, httpx.RemoteProtocolError) as error:
                failure, lost = ServerUnreachable(f"no connection to {address}: {_words(error)}"), True
            except httpx.TimeoutException as error:
                raise ServerUnreachable(f"{address} did not answer in time ({type(error).__name__})") from error
            except (httpx.HTTPError, httpx.StreamError) as error:
                raise ServerUnreachable(f"no answer from {address}: {_words(error)}") from error
            pause = self._patience.pause(attempt, waited, retry_after, lost=lost)
            if pause is None or self._stopping.wait(pause):
                raise failure
            waited += pause
            attempt += 1

    def _read(self, response: httpx.Response, address: str) -> str:
        """The text of an answer. Raises ServerUnreachable where it has no end in sight: neither bytes nor time are endless."""
        content, began = bytearray(), time.monotonic()
        for part in response.iter_bytes():
            content += part
            if len(content) > MOST_BYTES:
                raise ServerUnreachable(f"{address} answered with more than {MOST_BYTES // 2**20} MiB")
            if time.monotonic() - began > self.connection.timeout_s:
                raise ServerUnreachable(f"{address} did not end its answer within {self.connection.timeout_s:g} s")
        return content.decode("utf-8-sig", "replace")


def refusal(address: str, status: int, text: str, location: str = "") -> ServerRefused:
    """The error of an answer whose status is not 200, with the server's words and what to do where that is known."""
    note = ""
    if status in (401, 403):
        note = f" (the key comes from {KEY_VARIABLE}, further headers from {HEADERS_VARIABLE})"
    elif location and 300 <= status < 400:
        note = f" (it points to {location}: give that address)"
    return ServerRefused(address, status, words_of(text), note)


def parse_json(text: str, address: str, content_type: str = "") -> dict[str, Any]:
    """A JSON object that says no error. Raises EngineError otherwise."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = content_type.partition(";")[0] or "something"
        cause = "a web page" if "html" in kind or text.lstrip()[:1] == "<" else f"{kind} that is not JSON ({error})"
        raise EngineError(f"{address} answered with {cause}: {short(text)!r}") from None
    if not isinstance(body, dict):
        raise EngineError(f"{address} answered with {type(body).__name__} instead of a JSON object: {short(text)!r}")
    if body.get("error") or body.get("object") == "error":
        raise ServerRefused(address, 200, words_of(text))
    return body


def words_of(text: str) -> str:
    """What a server's refusal says, in one line."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return short(text)
    if isinstance(body, dict):
        error = body.get("error") or body
        body = error.get("message") or error.get("detail") or error if isinstance(error, dict) else error
    return short(body if isinstance(body, str) else json.dumps(body))


def short(text: str) -> str:
    """A text in one line of at most 400 characters."""
    return " ".join(text.split())[:400]


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
