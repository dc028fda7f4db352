"""The page in a real browser: nothing is fetched, nothing runs, nothing is complained of, and the charts are there."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from whichbits.reporting.page import render
from whichbits.schema.probe import ProbeSummary
from whichbits.verdict.caveat_codes import Remark


@pytest.fixture
def listener():
    """A web server that keeps what it was asked for: (address, requests)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def attack(address: str) -> str:
    steps = f"new Image().src='{address}/script';document.title='owned'"
    return f'</script></style></title><img src="{address}/image"><img src=x onerror="{steps}"><script>{steps}</script>'


def test_the_charts_are_drawn_and_the_console_is_silent(verdict, context, chromium, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(render(verdict, context), encoding="utf-8")
    seen = chromium(page)
    assert seen.console == []
    assert seen.dom.count('class="whisker') > 150
    assert seen.dom.count('class="cross') == 6 + 1
    assert seen.dom.count('class="frontier') == 4
    assert seen.dom.count('class="bar') == len(verdict.sizes)


def test_hostile_text_stays_text(verdict, context, chromium, listener, tmp_path):
    address, asked = listener
    evil = attack(address)
    formats = tuple(f.model_copy(update={"candidate": f.candidate + evil}) for f in verdict.formats)
    tasks = tuple(t.model_copy(update={"task": t.task + evil, "candidate": t.candidate + evil}) for t in verdict.tasks)
    bad = verdict.model_copy(update={"formats": formats, "tasks": tasks, "caveats": (Remark(text=evil),), "study": evil})
    chosen = tuple(r.model_copy(update={"candidate": r.candidate + evil}) for r in verdict.recommendations)
    bad = bad.model_copy(update={"base": verdict.base + evil, "recommendations": chosen})
    steps = tuple(
        c.model_copy(update={"error": evil, "labels": {evil: evil}, "summary": ProbeSummary(status="native", kernel=evil)})
        for c in context.steps
    )
    around = context.model_copy(update={"steps": steps, "specification": evil, "commands": (evil,), "model": evil})
    page = tmp_path / "report.html"
    page.write_text(render(bad, around), encoding="utf-8")
    seen = chromium(page)
    assert seen.console == []
    assert asked == []
    assert "<title>owned" not in seen.dom
    assert "<img" not in seen.dom


def test_the_attack_would_have_worked(chromium, listener, tmp_path):
    """The control of the test above: without escaping and policy the same text fetches and runs."""
    address, asked = listener
    page = tmp_path / "open.html"
    page.write_text(
        f"<!doctype html><title>page</title><p>{attack(address)}<script>undefined_name()</script>", encoding="utf-8"
    )
    seen = chromium(page)
    assert {"/image", "/script"} <= set(asked)
    assert "<title>owned" in seen.dom
    assert any("undefined_name" in line for line in seen.console)
