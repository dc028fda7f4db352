"""A key and headers of the user's own: sent with every request, shown nowhere."""

from __future__ import annotations

import json

import pytest

from whichbits.core.errors import UserError
from whichbits.engines.http.access import HEADERS_VARIABLE, KEY_VARIABLE, OURS, Access, access_from_environment
from whichbits.engines.http.connection import Connection


def test_the_key_is_sent_and_never_shown() -> None:
    connection = Connection("http://a", access=Access(" sk-hush\r\n"))
    assert connection.headers["Authorization"] == "Bearer sk-hush"
    assert "hush" not in repr(connection)
    assert Access("  ").key is None
    for key in ("sk-\nhush", "sk-hüsh"):
        with pytest.raises(UserError, match=KEY_VARIABLE) as caught:
            Access(key)
        assert "sk-" not in str(caught.value)


def test_further_headers_are_sent_and_an_authorization_takes_the_keys_place() -> None:
    found = Connection("http://a", access=Access("sk-1", {"X-Team": "hush", "user-agent": "mine"}))
    assert (found.headers["Authorization"], found.headers["X-Team"], found.headers["user-agent"]) == (
        "Bearer sk-1",
        "hush",
        "mine",
    )
    assert "User-Agent" not in found.headers
    assert "hush" not in repr(found)
    assert Access("sk-1", {"authorization": "Basic b"}).headers == {"authorization": "Basic b"}


@pytest.mark.parametrize(
    "name, value", [(name, "x") for name in sorted(OURS)] + [("A b", "x"), ("", "x"), ("A", "hush\r\nB: c")]
)
def test_headers_that_cannot_be_sent_are_refused_without_their_value(name: str, value: str) -> None:
    with pytest.raises(UserError, match=HEADERS_VARIABLE) as caught:
        Access(None, {name: value})
    assert "hush" not in str(caught.value)


def test_both_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-1")
    monkeypatch.delenv(HEADERS_VARIABLE, raising=False)
    assert access_from_environment().headers == {"Authorization": "Bearer sk-1"}
    monkeypatch.setenv(HEADERS_VARIABLE, json.dumps({"api-key": "k"}))
    assert access_from_environment().headers == {"Authorization": "Bearer sk-1", "api-key": "k"}
    for text in ("X-Team: search", "[1]", '{"a": 1}', "[" * 100_000):
        monkeypatch.setenv(HEADERS_VARIABLE, text)
        with pytest.raises(UserError, match=HEADERS_VARIABLE):
            access_from_environment()
