"""Mistakes in the engine's command and in addresses, keys, proxies and certificates."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest

from whichbits.engines.http.access import Access, access_from_environment
from whichbits.engines.http.connection import Connection, proxy_of, root_of, tls_context
from whichbits.engines.http.identity import reach, snapshot
from whichbits.engines.vllm.command import EngineCommand, find_vllm
from whichbits.engines.vllm.server import Server

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (*PROXIES, *map(str.upper, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR", "WHICHBITS_VLLM")
    for name in names:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def vllm(tmp_path: Path) -> str:
    """A python whose answer is that it has vLLM."""
    return script(tmp_path / "python3", "echo vllm 9.9")


def script(path: Path, command: str) -> str:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    return str(path)


# The command


def test_no_vllm_is_found(follow: Any, vllm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whichbits.engines.vllm.command.DISTRIBUTIONS", ())
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    own = ["/bin/sh", "{model}", "{port}"]
    follow("no vLLM found", mistake=find_vllm, remedy=lambda: find_vllm(own))

    def set_the_variable() -> None:
        monkeypatch.setenv("WHICHBITS_VLLM", vllm)
        assert find_vllm().version == "9.9"

    follow("no vLLM found", mistake=find_vllm, remedy=set_the_variable)


@pytest.mark.parametrize(
    ("error", "command"),
    [
        ("is not a program", ["no-such-program"]),
        ("is not a program", ["no-such-program", "{model}", "{port}"]),
        ("no vLLM behind", ["/bin/sh"]),
        ("{missing} missing in", ["/bin/sh", "{model}"]),
        ("{missing} missing in", ["vllm", "serve"]),
    ],
)
def test_a_command_that_starts_no_vllm(follow: Any, vllm: str, error: str, command: list[str]) -> None:
    follow(error, mistake=lambda: find_vllm(command), remedy=lambda: find_vllm([vllm]))
    follow(error, mistake=lambda: find_vllm(command), remedy=lambda: find_vllm(["/bin/sh", "{model}", "{port}"]))


def test_a_python_that_cannot_be_asked(follow: Any, vllm: str, tmp_path: Path) -> None:
    broken = tmp_path / "python-of-another-machine"
    broken.write_bytes(b"\x7fELF of another machine")
    broken.chmod(0o755)
    follow("cannot be asked for its vLLM", mistake=lambda: find_vllm([str(broken)]), remedy=lambda: find_vllm([vllm]))


def test_a_port_in_use(follow: Any, tmp_path: Path) -> None:
    command = EngineCommand((sys.executable, "{model}", "{port}"), "1", "x")

    def serve(port: int | None) -> None:
        Server(command, tmp_path, arguments={}, environment={}, log=tmp_path / "log.txt", port=port)

    with socket.socket() as taken, socket.socket() as other:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
        other.close()
        port = taken.getsockname()[1]
        follow("is in use", mistake=lambda: serve(port), remedy=lambda: serve(free))
        follow("is in use", mistake=lambda: serve(port), remedy=lambda: serve(None))


# The address


@pytest.mark.parametrize(
    ("error", "wrong", "right"),
    [
        ("is no address of a server: {error}", "http://a:99999", "http://a:9999"),
        ("is no address of a server: {error}", "http://[::1", "http://[::1]:80"),
        ("is no address of a server", "a:8000", "http://a:8000"),
        ("is no address of a server", "ftp://a/path", "https://a/path"),
        ("is no address of a server", "http://a:0", "http://a:1"),
        ("has a query or fragment", "http://a/path?k=1", "https://a/path"),
        ("has a query or fragment", "http://a:80#x", "http://a:80"),
    ],
)
def test_an_address(follow: Any, error: str, wrong: str, right: str) -> None:
    follow(error, mistake=lambda: root_of(wrong), remedy=lambda: root_of(right))


def test_a_password_in_an_address(follow: Any) -> None:
    def remedy() -> None:
        assert Connection("http://a:80", access=Access("word")).headers["Authorization"] == "Bearer word"

    follow("has a user or password in it", mistake=lambda: Connection("http://me:word@a:80"), remedy=remedy)


@pytest.mark.parametrize("wrong", ["schlüssel", "a\nb"])
def test_a_key(follow: Any, wrong: str) -> None:
    follow(
        "holds characters that no HTTP header can carry",
        mistake=lambda: Access(wrong),
        remedy=lambda: Access("sk-1\n"),
    )


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("remedy", ["http_proxy=http://proxy:3128", "NO_PROXY=a.org"])
def test_a_proxy(follow: Any, monkeypatch: pytest.MonkeyPatch, variable: str, remedy: str) -> None:
    monkeypatch.setenv(variable, "socks5://proxy:1080")

    def fix() -> None:
        monkeypatch.setenv(*remedy.split("="))
        proxy_of("http://a.org:8000")

    error = follow("does not speak HTTP", mistake=lambda: proxy_of("http://a.org:8000"), remedy=fix)
    assert "set http_proxy to an HTTP proxy" in error.remedy and "a.org to NO_PROXY" in error.remedy


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("unset", [True, False])
def test_certificates_that_do_not_exist(
    follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, unset: bool
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "none"))

    def fix() -> None:
        found = Path(certifi.where())
        if unset:
            monkeypatch.delenv(variable)
        else:
            monkeypatch.setenv(variable, str(found if variable == "SSL_CERT_FILE" else found.parent))
        tls_context()

    follow("{name}: {value} does not exist", mistake=tls_context, remedy=fix)


@pytest.mark.parametrize("folder", [True, False])
def test_a_file_without_certificates(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool) -> None:
    (tmp_path / "file").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path if folder else tmp_path / "file"))

    def fix() -> None:
        monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
        tls_context()

    follow("has no certificates", mistake=tls_context, remedy=fix)


# What answers


def test_an_address_without_models(follow: Any, fake: Any) -> None:
    server, guarded, started = fake(), fake(key="sk-1"), fake(pages={"/v1/models": "<html>"})
    error = "gives no list of models"
    follow(error, mistake=lambda: reach(Connection(f"{server.url}/x")), remedy=lambda: reach(Connection(server.url)))
    follow(
        error,
        mistake=lambda: reach(Connection(guarded.url, access=Access("sk-2"))),
        remedy=lambda: reach(Connection(guarded.url, access=Access("sk-1"))),
    )

    def start() -> None:
        started.pages = {}
        reach(Connection(started.url))

    follow(error, mistake=lambda: reach(Connection(started.url)), remedy=start)


def test_names_of_models(follow: Any, fake: Any) -> None:
    none, several = fake(models=[]), fake(models=[{"id": "a"}, {"id": "b"}])

    def start() -> None:
        none.models = [{"id": "a"}]
        reach(Connection(none.url))

    empty = follow("serves 0 models", mistake=lambda: reach(Connection(none.url)), remedy=start)
    assert empty.remedy == "start the server with a model"
    for name in ("a", "b"):
        follow(
            "serves {models} models",
            mistake=lambda: reach(Connection(several.url)),
            remedy=lambda name=name: reach(Connection(several.url, name)),
        )
    error = follow(
        "is not served at",
        mistake=lambda: reach(Connection(several.url, "c")),
        remedy=lambda: reach(Connection(several.url, "a")),
    )
    assert error.remedy == "it serves a, b; name one of them"


def test_a_server_that_stops_answering(follow: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from whichbits.engines.errors import EngineError
    from whichbits.engines.http import identity

    server = fake()

    def stopped(_: Any) -> Any:
        raise EngineError("no connection")

    with monkeypatch.context() as during:
        during.setattr(identity, "read_metrics", stopped)
        follow(
            "has stopped answering",
            mistake=lambda: snapshot(Connection(server.url)),
            remedy=lambda: during.undo() or snapshot(Connection(server.url)),
        )


def test_a_driver_that_hangs(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in place of the driver's, which answers late and then at once."""
    from whichbits.hardware import this_machine

    program = tmp_path / "nvidia-smi"

    def answers_after(seconds: float) -> None:
        program.write_text(f"#!/bin/sh\nexec 2>&-\n[ {seconds} = 0 ] || exec sleep {seconds}\necho 'a, b'\n")
        program.chmod(0o755)
        assert this_machine._query([program.name]) == [["a", "b"]]

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(this_machine, "ANSWER_S", 1.0)
    follow("did not answer within", mistake=lambda: answers_after(20), remedy=lambda: answers_after(0))


def test_headers_of_ones_own_that_cannot_be_sent(follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(
        "is no header of your own",
        mistake=lambda: Access(None, {"Host": "b", "X-Team": "search"}),
        remedy=lambda: Access(None, {"X-Team": "search"}),
    )

    def read(text: str) -> None:
        monkeypatch.setenv("WHICHBITS_HEADERS", text)
        access_from_environment()

    follow(
        "is no JSON object of texts",
        mistake=lambda: read("X-Team: search"),
        remedy=lambda: read('{"X-Team": "search", "api-key": "..."}'),
    )
