"""A confined process, in one of two roles; it reads its order from standard input.

The order is one line of JSON: role, mode, memory_bytes, cpu_seconds, parent (the process to end with), channel (a file
descriptor), libraries (folders of numpy), and the texts of the role: `program` for the candidate; `prelude`, `test` and
`entry_point` for the judge. Standard output carries `ready`, or why the process could not be confined; then, from the judge
alone, its verdict.
"""

import json
import os
import random
import sys
from types import ModuleType
from typing import Any

from . import confine, libraries, values


class Channel:
    """Lines over a socket, read and written as a file since the filter takes the socket calls away."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waiting = b""

    def send(self, line: str) -> None:
        """Write one line."""
        rest = memoryview(line.encode() + b"\n")
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def receive(self) -> Any:
        """Read one value; raises EOFError where the other side has ended, ValueError where its line is too long."""
        while b"\n" not in self.waiting:
            part = os.read(self.descriptor, 1 << 16)
            if not part:
                raise EOFError
            self.waiting += part
            if len(self.waiting) > values.MAX_LINE:
                raise ValueError("a value of more than 4 MiB")
        line, _, self.waiting = self.waiting.partition(b"\n")
        return values.loads(line.decode())


def candidate(program: str, channel: Channel) -> None:
    """Hold the generated program and answer calls of its functions, until the judge hangs up."""
    module = ModuleType("candidate")
    sys.modules["candidate"] = module
    try:
        exec(compile(program, "<candidate>", "exec"), module.__dict__)
    except BaseException as error:  # noqa: BLE001 - whatever a generated program raises is its failure
        channel.send(values.dumps(("raised", type(error).__name__)))
        return
    channel.send(values.dumps(("loaded", None)))
    while True:
        name, positional, named = channel.receive()
        try:
            reply = values.dumps(("value", getattr(module, name)(*positional, **named)))
        except BaseException as error:  # noqa: BLE001 - as above
            reply = values.dumps(("raised", type(error).__name__))
        channel.send(reply)


class Raised(Exception):
    """The candidate's function raised."""


def judge(prelude: str, test: str, entry_point: str, channel: Channel) -> str | None:
    """Run the tests against the candidate's function; why it failed, or None."""

    def call(*positional: object, **named: object) -> Any:
        channel.send(values.dumps((entry_point, positional, named)))
        kind, value = channel.receive()
        if kind != "value":
            raise Raised(value)
        return value

    kind, name = channel.receive()
    if kind != "loaded":
        return f"the program raised {name}"[:200]
    # The prompt defines functions that tests may use; the candidate's takes the place of the unfinished one.
    tests: dict[str, Any] = {"__name__": "tests"}
    exec(compile(prelude, "<prompt>", "exec"), tests)
    tests[entry_point] = call
    exec(compile(test, "<test>", "exec"), tests)
    tests["check"](call)
    return None


def verdict(order: dict[str, Any], channel: Channel) -> dict[str, object]:
    """The judge's finding: passed, and the reason where not."""
    try:
        reason = judge(order["prelude"], order["test"], order["entry_point"], channel)
    except AssertionError:
        reason = "a test failed"
    except (EOFError, BrokenPipeError, ConnectionResetError):
        reason = "the program ended by itself"
    except BaseException as error:  # noqa: BLE001 - whatever a test raises on the candidate's value is its failure
        reason = f"{type(error).__name__}: {error}"[:200]
    return {"passed": reason is None, "reason": reason}


def main() -> None:
    """Read the order, confine, play the role."""
    order = json.loads(sys.stdin.readline())
    report = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # standard error goes nowhere; what programs and tests print follows it
    try:
        limits = {name: order[name] for name in ("memory_bytes", "cpu_seconds", "parent", "libraries")}
        confine.confine(order["mode"], **limits)
    except OSError as error:
        report.write(f"refused: {error.args[-1]} ({os.strerror(error.errno or 0)})\n")
        return
    libraries.allow(order["libraries"])
    random.seed(0)
    channel = Channel(order["channel"])
    report.write("ready\n")
    if order["role"] == "candidate":
        report.close()
        candidate(order["program"], channel)
    else:
        report.write(json.dumps(verdict(order, channel)) + "\n")
