"""Addresses, proxies, keys and certificates."""

from __future__ import annotations

import pytest

from whichbits.core.errors import UserError
from whichbits.engines.http.connection import Connection, is_loopback, proxy_of, root_of, tls_context

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.upper, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://a:8000", "http://a:8000"),
        ("http://a:8000/", "http://a:8000"),
        ("http://a:8000/v1", "http://a:8000"),
        ("http://a:8000/v1/", "http://a:8000"),
        ("https://a/llm/v1//", "https://a/llm"),
        ("http://a:8000//v1//", "http://a:8000"),
        ("http://a/llm//v1", "http://a/llm"),
        (" http://a/v1/completions ", "http://a"),
        ("http://a/v1/chat/completions", "http://a"),
        ("http://[::1]:80/v1", "http://[::1]:80"),
        ("http://a/serve1", "http://a/serve1"),
    ],
)
def test_the_root_of_an_address(url: str, root: str) -> None:
    assert root_of(url) == root
    assert root_of(root) == root


@pytest.mark.parametrize(
    "url", ["a:8000", "", "ftp://a", "http://", "http://a:99999", "http://[::1", "http://a/?k=1", "http://a#x"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UserError):
        root_of(url)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        root_of("http://me:hush@a:8000")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "app.localhost", "127.0.0.1", "127.0.1.1", "127.1", "::1", "[::1]", "0.0.0.0",
     "::", "::ffff:127.0.0.1"],
)  # fmt: skip
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.org", "128.0.0.1", "10.0.0.1", "2001:db8::1", "a"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_proxy_is_for_other_machines(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "proxy:3128")
    assert proxy_of("http://a:8000") == "http://proxy:3128"
    for host in ("127.0.0.1", "127.0.1.1", "localhost", "[::1]", "0.0.0.0"):
        assert proxy_of(f"http://{host}:8000") is None


@pytest.mark.parametrize("exceptions", ["a.example.org", "example.org", ".example.org", "*", "x, a.example.org:8000"])
def test_no_proxy_names_hosts(exceptions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert proxy_of("http://a.example.org:8000") is None
    if exceptions != "*":
        assert proxy_of("http://b.org:8000") == "http://proxy:3128"


def test_no_proxy_names_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.0/8,fd00::/8")
    assert proxy_of("http://10.1.2.3") is None and proxy_of("http://[fd00::5]:80") is None
    assert proxy_of("http://11.1.2.3") == "http://proxy:3128"


def test_a_proxy_that_speaks_no_http_is_refused_where_it_would_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:hush@proxy:1080")
    assert proxy_of("http://127.0.0.1:8000") is None
    with pytest.raises(UserError, match="NO_PROXY") as caught:
        proxy_of("http://a:8000")
    assert "hush" not in str(caught.value)


def test_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    assert Connection("http://a").tls is None
    assert tls_context().cert_store_stats()["x509_ca"] > 10
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(UserError, match="SSL_CERT_FILE"):
        _ = Connection("https://a").tls
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(UserError, match="SSL_CERT_FILE"):
        tls_context()
