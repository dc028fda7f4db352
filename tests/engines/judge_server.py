"""A judge: an OpenAI-compatible chat server on a loopback port that prefers the answer with more of the word "good"."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JudgeServer(ThreadingHTTPServer):
    """Options: key (asked for where set), refusals (statuses of the first answers), newer (refuses max_tokens, as OpenAI's
    newer models do), hold_after (how many are answered before all others wait for `go`).

    A question with "biased" is always won by A; of one with "longer" the longer answer wins; one with "silent" gets no label.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, **options: Any) -> None:
        self.key: str | None = None
        self.refusals: list[int] = []
        self.newer = False
        self.hold_after: int | None = None
        self.go = threading.Event()
        self.received: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        for name, value in options.items():
            setattr(self, name, value)
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def judgment(request: str) -> str:
    """What the judge says of a request."""
    a, b = (re.search(rf"Start of Assistant {side}'s Answer\|>\n(.*?)\n<\|The End", request, re.DOTALL) for side in "AB")
    assert a is not None and b is not None
    question = request.split("<|The Start")[0]
    if "silent" in question:
        return "I would rather not."
    if "biased" in question:
        return "A comes first: [[A>B]]"
    more = len(a[1]) - len(b[1]) if "longer" in question else a[1].count("good") - b[1].count("good")
    label = "A=B" if not more else f"{'A' if more > 0 else 'B'}{'>>' if abs(more) > 1 else '>'}{'B' if more > 0 else 'A'}"
    return f"Mine would be better than [[B>A]]. My final verdict is: [[{label}]]"


class Handler(BaseHTTPRequestHandler):
    server: JudgeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.key is not None and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.answer(401, {"error": {"message": "wrong key"}})
            return
        with self.server.lock:
            refused = self.server.refusals.pop(0) if self.server.refusals else None
        if refused is not None:
            self.answer(refused, {"error": {"message": "busy"}})
            return
        if self.server.newer and "max_tokens" in request:
            self.answer(400, {"error": {"message": "Unsupported parameter: use 'max_completion_tokens' instead."}})
            return
        with self.server.lock:
            held = self.server.hold_after is not None and len(self.server.received) >= self.server.hold_after
            self.server.received.append(request)
        if held:
            self.server.go.wait(120)
        text = judgment(request["messages"][-1]["content"])
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self.answer(200, {"model": request["model"], "choices": [{"index": 0, "message": message}], "usage": usage})
