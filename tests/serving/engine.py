"""A small OpenAI-compatible completions server with known timing, for tests: `python engine.py '{"ttft": 0.05}'`.

Prints its port. Options: ttft, itl (seconds), stop_after (tokens, ignoring max_tokens), per_chunk (tokens a chunk), textless
(first tokens that carry no text), cached (share of prompt tokens reported as prefix hits), fail_every (n-th request gets
HTTP 500), slots (requests served at once, the others wait), stop_every (n-th request ends after half of its tokens),
restart_after (requests after which the counters begin anew), slowing (share by which each request's first token comes later
than the one before), preempt_every (n-th request counts as preempted), stall_every and stall (seconds: how often and how long
nothing is sent), usage (False: none in the stream), held (True: the whole stream is sent at its end, as by a proxy that
buffers), remembers (True: prefix hits are what earlier prompts began with), jitter (share by which each gap differs at random,
up or down), drop_every (the connection of each n-th request is closed after half of its tokens), token_ids (False: prompts are
texts, of a token a word), refuses (fields that it refuses by name), ends (tokens after which the model ends, where no field
keeps the length), keeps (fields that do), extra_tokens (that it puts before a prompt).
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable
from typing import Any


class Engine:
    def __init__(self, **options: Any) -> None:
        self.options = {
            "ttft": 0.02, "itl": 0.002, "stop_after": None, "per_chunk": 1, "textless": 0, "cached": 0.0, "fail_every": 0,
            "slots": 1000, "stop_every": 0, "restart_after": 0, "slowing": 0.0, "preempt_every": 0, "stall_every": 0.0,
            "stall": 0.0, "usage": True, "held": False, "remembers": False, "jitter": 0.0, "drop_every": 0, "token_ids": True,
            "refuses": [], "ends": 0, "keeps": ["ignore_eos", "min_tokens"], "extra_tokens": 0,
        } | options  # fmt: skip
        self.received: list[dict[str, Any]] = []
        self.random = random.Random(0)
        self.late: list[float] = []
        """By how much the first chunk of each request was sent late, in seconds."""
        self.queries = self.hits = self.generated = 0.0
        self.slots = asyncio.Semaphore(self.options["slots"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split()
                length = next(
                    (int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")), 0
                )
                body = await reader.readexactly(length)
                await self.answer(method, path, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, method: str, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path == "/v1/models":
            await self.plain(writer, 200, json.dumps({"data": [{"id": "m"}]}))
        elif path == "/metrics":
            text = f'vllm:prefix_cache_queries_total{{engine="0"}} {self.queries}\n'
            text += f'vllm:prefix_cache_hits_total{{engine="0"}} {self.hits}\n'
            text += f'vllm:generation_tokens_total{{engine="0"}} {self.generated}\n'
            if every := self.options["preempt_every"]:
                text += f'vllm:num_preemptions_total{{engine="0"}} {len(self.received) // every}\n'
            await self.plain(writer, 200, text)
        elif path == "/late":
            await self.plain(writer, 200, json.dumps(self.late))
        elif path == "/received":
            await self.plain(writer, 200, json.dumps(self.received))
        elif method == "GET":
            await self.plain(writer, 404, '{"detail": "Not Found"}')
        else:
            async with self.slots:
                await self.complete(json.loads(body), writer)

    async def plain(self, writer: asyncio.StreamWriter, status: int, text: str) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        await writer.drain()

    async def complete(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        o = self.options
        self.received.append(request)
        if o["fail_every"] and len(self.received) % o["fail_every"] == 0:
            await self.plain(writer, 500, '{"error": {"message": "out of order"}}')
            return
        if o["restart_after"] and len(self.received) == o["restart_after"]:
            self.queries = self.hits = self.generated = 0.0
        if (refused := self.refused(request)) is not None:
            await self.plain(writer, 400, json.dumps({"error": {"message": refused}}))
            return
        if isinstance(request["prompt"], str):
            request["prompt"] = request["prompt"].split()
        prompt = len(request["prompt"]) + o["extra_tokens"]
        self.queries += prompt
        self.hits += max(map(self.alike(request), self.received[:-1]), default=0) if o["remembers"] else prompt * o["cached"]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        asked = request.get("max_tokens", request.get("max_completion_tokens", 16))
        count = min(asked, o["stop_after"] or asked)
        if o["ends"] and not any(request.get(field) for field in o["keeps"]):
            count = min(count, o["ends"])
        if o["stop_every"] and len(self.received) % o["stop_every"] == 0:
            count //= 2
        drops = o["drop_every"] and len(self.received) % o["drop_every"] == 0
        due = asyncio.get_running_loop().time() + o["ttft"] * (1 + o["slowing"] * len(self.received))
        done = 0
        while done < count:
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if o["stall_every"] and (left := asyncio.get_running_loop().time() % o["stall_every"]) < o["stall"]:
                await asyncio.sleep(o["stall"] - left)
            if not done:
                self.late.append(asyncio.get_running_loop().time() - due)
            done = min(done + o["per_chunk"], count)
            due += o["itl"] * o["per_chunk"] * (not o["held"]) * (1 + o["jitter"] * self.random.uniform(-1, 1))
            text = "" if done <= o["textless"] else "x"
            usage = {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}
            chunk = {"id": "c", "choices": [{"index": 0, "text": text}]} | ({"usage": usage} if o["usage"] else {})
            await self.event(writer, json.dumps(chunk))
            if drops and done >= count // 2:
                writer.close()
                return
        self.generated += count
        if o["usage"]:
            await self.event(writer, json.dumps({"id": "c", "choices": [], "usage": usage}))
        await self.event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def refused(self, request: dict[str, Any]) -> str | None:
        """What it says of a request that it does not take."""
        if found := [name for name in self.options["refuses"] if name in request]:
            return f"Unrecognized request argument supplied: {found[0]}"
        return None if self.options["token_ids"] or isinstance(request["prompt"], str) else "prompt must be a string"

    def alike(self, request: dict[str, Any]) -> Callable[[dict[str, Any]], int]:
        """How many tokens of the prompt another request's prompt begins with."""

        def common(other: dict[str, Any]) -> int:
            pairs = enumerate(zip(request["prompt"], other["prompt"], strict=False))
            shorter = min(len(request["prompt"]), len(other["prompt"]))
            return next((place for place, (one, two) in pairs if one != two), shorter)

        return common

    async def event(self, writer: asyncio.StreamWriter, data: str) -> None:
        payload = f"data: {data}\n\n".encode()
        writer.write(f"{len(payload):x}\r\n".encode() + payload + b"\r\n")
        if not self.options["held"]:
            await writer.drain()


async def main() -> None:
    engine = Engine(**json.loads(sys.argv[1]))
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0, limit=1 << 22)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
