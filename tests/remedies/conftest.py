"""Makes a user's mistake, checks that its error is the one meant, and follows the remedy until it works."""

from __future__ import annotations

import importlib.util
import re
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from whichbits.errors import UserError

TOOL = Path(__file__).parents[2] / "tools" / "errors.py"


@pytest.fixture(scope="session")
def catalogue() -> ModuleType:
    """The tool that reads all errors from the code."""
    specification = importlib.util.spec_from_file_location("whichbits_errors_tool", TOOL)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def follow(catalogue: ModuleType) -> Callable[..., UserError]:
    """`follow(error, mistake=..., remedy=...)`.

    `error` is a part of the error's message as docs/errors.md prints it; `mistake` raises it; `remedy` does what its remedy
    says, with everything else as it was, and must not raise.
    """
    sites = catalogue.sites()

    def run(error: str, *, mistake: Callable[[], Any], remedy: Callable[[], Any]) -> UserError:
        meant = [site for site in sites if error in site.message]
        assert meant, f"no error says {error!r}"
        with pytest.raises(UserError) as raised:
            mistake()
        line = str(raised.value)
        assert "\n" not in line
        assert any(_matches(site, raised.value) for site in meant), f"another error: {line}"
        remedy()
        return raised.value

    return run


@pytest.fixture
def fake() -> Iterator[Callable[..., Any]]:
    """Starts a completions server with oddities; see `fake_server.py`."""
    script = runpy.run_path(str(Path(__file__).parents[1] / "engines" / "fake_server.py"))
    running: list[Any] = []

    def start(**options: Any) -> Any:
        server = script["FakeServer"](**options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def _matches(site: Any, error: UserError) -> bool:
    """Whether an error is one of a place in the code: its text is the template with values in the braces."""
    line = _plain(error.message)
    return any(re.search(_pattern(text), line) for text in (site.message, *site.message.split(" / ")))


def _pattern(template: str) -> str:
    return ".*".join(re.escape(_plain(part)) for part in re.split(r"\{[^{}]*\}", template))


def _plain(text: str) -> str:
    return " ".join(text.split())
