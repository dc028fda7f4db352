"""Makes a user's mistake, checks that its error is the one meant, and follows the remedy until it works."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import whichbits
from whichbits.core.errors import UserError

SOURCE = Path(whichbits.__file__).parent
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


@pytest.fixture(scope="module", autouse=True)
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the tests of a file the remedies that they followed are those that `tests/golden/remedies` has of it."""
    TRIED.clear()
    yield
    options, file = request.config.option, request.path
    if options.keyword or options.markexpr or "::" in str(request.config.args) or file in INCOMPLETE:
        return
    found = sorted([site.module, site.message] for site in TRIED)
    golden = GOLDEN / f"{file.stem}.json"
    if os.environ.get("RECORD") and found:
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written = json.loads(golden.read_text(encoding="utf-8")) if golden.exists() else []
    assert found == written, f"run: RECORD=1 python -m pytest {file}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember the files of which some test was skipped or failed."""
    report = yield
    if not report.passed:
        INCOMPLETE.add(item.path)
    return report


INCOMPLETE: set[Path] = set()
GOLDEN = Path(__file__).parents[1] / "golden" / "remedies"


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
        TRIED.update(_raised_at(raised.value, sites) or [site for site in meant if _matches(site, raised.value)])
        return raised.value

    return run


@pytest.fixture(scope="session")
def follow_line(catalogue: ModuleType) -> Callable[..., None]:
    """`follow_line(error, said=..., remedy=...)`: as `follow`, of a line that has been printed (`said`)."""
    sites = catalogue.sites()

    def run(error: str, *, said: str, remedy: Callable[[], Any]) -> None:
        message, arrow, told = " ".join(said.split()).partition(" → ")
        found = [site for site in sites if error in site.message and re.search(_pattern(site.message), message)]
        assert found, f"another error: {message}"
        assert arrow
        assert any(re.search(_pattern(site.remedy), told) for site in found), f"another remedy: {told}"
        remedy()
        TRIED.update(found)

    return run


TRIED: set[Any] = set()
"""Places in the code whose remedies have been followed by the file of tests that runs."""


def _raised_at(error: BaseException | None, sites: Sequence[Any]) -> set[Any]:
    """The places that made an error and what it was made of, by the lines of its traceback.

    An error that came from another process has none; one that a function returned to who raised it has the caller's.
    """
    found = set()
    while isinstance(error, UserError):
        lines = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        for file, line in lines:
            here = [site for site in sites if file == SOURCE / site.module and site.first <= (line or 0) <= site.last]
            found |= {site for site in here if _matches(site, error)}
        error = error.__cause__
    return found


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
