"""An OpenAI-compatible completions server with chosen oddities, on a loopback port, in a thread of the test's process.

Its answers are a function of the request: log-probabilities of a distribution over 16 tokens, texts of numbered words.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def logprob(prompt: list[int], token: int) -> float:
    """Log-probability of `token` (0 to 15) after `prompt`, in nats."""
    weights = [1 + (7 * other + 3 * sum(prompt) + len(prompt)) % 11 for other in range(16)]
    return math.log(weights[token % 16] / sum(weights))


class FakeServer(ThreadingHTTPServer):
    """Options: models (entries of /v1/models), key, pages (path → object or text of other GETs), refusals (statuses that the
    first POSTs are answered with, None for an answer), retry_after, given (whether it knows logprob_token_ids), unknown (fields
    that it refuses by name), token_ids (whether it takes them as a prompt), streams (whether it does, where asked), change
    (answer, request) → what is sent instead: an object, a text, None for the changed answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, **options: Any) -> None:
        self.models: list[Any] = [{"id": "m", "owned_by": "vllm", "max_model_len": 64, "root": "org/m"}]
        self.key: str | None = None
        self.pages: dict[str, Any] = {"/version": {"version": "1.2"}, "/metrics": "process_start_time_seconds 5.0\n"}
        self.refusals: list[int | None] = []
        self.retry_after: str | None = None
        self.given = True
        self.unknown: frozenset[str] = frozenset()
        self.token_ids = True
        self.streams = True
        self.change: Change | None = None
        self.received: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        for name, value in options.items():
            setattr(self, name, value)
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: Any, **headers: str) -> None:
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if text[:1] == b"<" else "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text)

    def allowed(self) -> bool:
        if self.server.key is None or self.headers.get("Authorization") == f"Bearer {self.server.key}":
            return True
        self.answer(401, {"error": {"message": "wrong key"}})
        return False

    def do_GET(self) -> None:
        if not self.allowed():
            return
        pages = {"/v1/models": {"data": self.server.models}, **self.server.pages}
        found = pages.get(self.path)
        self.answer(404, {"detail": "Not Found"}) if found is None else self.answer(200, found)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        with self.server.lock:
            self.server.received.append(request)
            status = self.server.refusals.pop(0) if self.server.refusals else None
        if status == -1:  # the connection is lost
            self.close_connection = True
            self.connection.close()
            return
        if refused := sorted(self.server.unknown & set(request)):
            self.answer(400, {"error": {"message": f"Unrecognized request argument supplied: {refused[0]}"}})
            return
        if not self.server.token_ids and not isinstance(request["prompt"], str):
            self.answer(400, {"error": {"message": "prompt must be a string"}})
            return
        if status is not None:
            extra = {"Retry_After": self.server.retry_after} if self.server.retry_after else {}
            self.answer(status, {"error": {"message": f"busy {status}"}}, **extra)
            return
        body = self.completion(request)
        if self.server.change is not None:
            changed = self.server.change(body, request)
            body = body if changed is None else changed
        if request.get("stream") and self.server.streams and not isinstance(body, str):
            body = f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n"
        self.answer(200, body)

    def completion(self, request: dict[str, Any]) -> dict[str, Any]:
        prompt = [1] if isinstance(request["prompt"], str) else request["prompt"]
        count = min(3, request["max_tokens"])
        made = [max(range(16), key=lambda token: logprob(prompt, token))] * count
        reason = "length" if count == request["max_tokens"] else "stop"
        choice: dict[str, Any] = {"index": 0, "text": " one" * count, "finish_reason": reason, "logprobs": None}
        if request.get("logprobs") is not None:
            choice["logprobs"] = self.logprobs(request, prompt, made)
        usage = {"prompt_tokens": len(prompt), "completion_tokens": count, "total_tokens": len(prompt) + count}
        return {"id": "c", "object": "text_completion", "model": request["model"], "choices": [choice], "usage": usage}

    def logprobs(self, request: dict[str, Any], prompt: list[int], made: list[int]) -> dict[str, Any]:
        tokens = [*prompt, *made] if request.get("echo") else made
        first = 0 if request.get("echo") else len(prompt)
        whole = [*prompt, *made]
        own: list[float | None] = []
        top: list[dict[str, float] | None] = []
        for place, token in enumerate(tokens):
            before = whole[: first + place]
            if not before:
                own.append(None)
                top.append(None)
                continue
            own.append(logprob(before, token))
            best = max(range(16), key=lambda other: logprob(before, other))
            named = {token, best}
            if self.server.given and first + place == len(prompt):
                named |= set(request.get("logprob_token_ids", []))
            top.append({f"token_id:{one}": logprob(before, one) for one in named})
        return {"tokens": [f"token_id:{token}" for token in tokens], "token_logprobs": own, "top_logprobs": top}
