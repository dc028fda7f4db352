"""A server that answers by the clock and computes nothing, a program of the standard library alone. Prints its port.

Every completion is streamed as vLLM streams it: a chunk a token, every 20 ms, with running usage. What the load client costs is
measured against it.
"""

from __future__ import annotations

import asyncio
import json
import sys

TOKEN_S = 0.02
"""From token to token, and from the request to the first: 50 tokens each second."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection, one after another."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            fields = (line.split(b":", 1) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            length = next((int(value) for _, value in fields), 0)
            await _complete(json.loads(await reader.readexactly(length)), writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _complete(request: dict[str, int], writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    due, prompt = loop.time(), len(str(request["prompt"]))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for done in range(1, request["max_tokens"] + 1):
        due += TOKEN_S
        await asyncio.sleep(due - loop.time())
        usage = {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}
        _event(writer, json.dumps({"id": "null", "choices": [{"index": 0, "text": " token"}], "usage": usage}))
        await writer.drain()
    _event(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _event(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


async def main() -> None:
    """Serve on a free port until standard input ends, as it does with whoever has started this."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
