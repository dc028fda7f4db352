# ruff: noqa: E501 - programs of one line
"""Attacks of a generated program: on files, network, other processes, memory, time, and on the verdict itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from whichbits.accuracy.sandbox.run import Outcome, Sandbox, SandboxUnavailable, open_sandbox

TEST = "def check(function):\n    assert function(20) == 42\n    assert function(0) == 2\n"
RIGHT = "def answer(x):\n    return 2 * x + 2 if x != 20 else 42\n"
WRONG = "def answer(x):\n    return 0\n"


@pytest.fixture(params=["namespaces", "landlock"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    box = Sandbox(request.param, memory_bytes=512 << 20, cpu_seconds=2, wall_seconds=3)
    try:
        assert judged(box, RIGHT).passed
    except SandboxUnavailable as error:
        pytest.skip(f"this kernel offers no {request.param}: {error}")
    return box


def judged(sandbox: Sandbox, program: str, test: str = TEST) -> Outcome:
    return sandbox.run(program, prelude="", test=test, entry_point="answer")


def attack(sandbox: Sandbox, body: str) -> Outcome:
    """The outcome of a program that answers right if and only if `body` ends without an exception."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return judged(sandbox, f"{RIGHT}\nimport os, sys, ctypes\ndef attack():\n{lines}\nattack()\n")


def test_right_and_wrong_programs_are_told_apart(sandbox: Sandbox) -> None:
    assert judged(sandbox, RIGHT) == Outcome(passed=True, reason=None)
    assert judged(sandbox, WRONG) == Outcome(passed=False, reason="a test failed")
    assert judged(sandbox, "def answer(x) return") == Outcome(passed=False, reason="the program raised SyntaxError")
    assert "KeyError" in str(judged(sandbox, "def answer(x):\n    return {}[x]\n").reason)


def test_the_standard_library_works(sandbox: Sandbox) -> None:
    program = (
        "import collections, hashlib, heapq, itertools, math, re, string, typing, json, decimal, fractions, datetime, threading\n"
        "assert hashlib.md5(b'').hexdigest().startswith('d41d8cd9')\n"
        "done = []\nworker = threading.Thread(target=done.append, args=(1,))\nworker.start()\nworker.join()\nassert done\n"
    )
    assert judged(sandbox, program + RIGHT).passed


def test_files_of_the_user_cannot_be_read(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("secret")
    for path in (secret, Path.home() / ".bashrc", Path("/etc/passwd"), Path(f"/proc/{os.getpid()}/environ"), Path(__file__)):
        assert path.exists() or path.name == ".bashrc"
        assert attack(sandbox, f"open({str(path)!r}).read()").reason == "the program raised " + (
            "FileNotFoundError" if sandbox.mode == "namespaces" or not path.exists() else "PermissionError"
        )
    assert not attack(sandbox, f"assert os.listdir({str(tmp_path)!r})").passed


def test_nothing_can_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("whole")
    writes = ("open({!r}, 'w').write('x')", "os.truncate({!r}, 0)", "os.remove({!r})", "os.chmod({!r}, 0o777)")
    for place in (str(victim), "/tmp/dropped-by-a-program", os.__file__):
        for write in writes:
            assert not attack(sandbox, write.format(place)).passed
    assert victim.read_text() == "whole"
    assert not Path("/tmp/dropped-by-a-program").exists()


def test_no_network_not_even_this_machine(sandbox: Sandbox) -> None:
    reached = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2)
        port = listener.getsockname()[1]

        def accept() -> None:
            try:
                reached.append(listener.accept())
            except TimeoutError:
                return

        waiter = threading.Thread(target=accept)
        waiter.start()
        assert not attack(sandbox, f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)").passed
        # The same by a raw call, past whatever Python checks.
        assert not attack(sandbox, "assert ctypes.CDLL(None).syscall(41, 2, 1, 0) >= 0").passed
        waiter.join()
    assert reached == []


def test_no_process_can_be_started(sandbox: Sandbox) -> None:
    assert attack(sandbox, "while True: os.fork()").reason == "the program raised PermissionError"
    assert not attack(sandbox, "import subprocess\nsubprocess.run(['/bin/true'], check=True)").passed
    assert not attack(sandbox, "os.execv(sys.executable, ['python', '-c', ''])").passed
    assert not attack(sandbox, "assert ctypes.CDLL(None).vfork() >= 0").passed


def test_other_processes_cannot_be_signalled_or_hindered(sandbox: Sandbox) -> None:
    us = os.getpid()
    for call in ("os.kill({}, 9)", "os.kill({}, 0)", "os.kill(os.getppid(), 9)", "os.kill(-1, 9)", "os.pidfd_open({})"):
        assert not attack(sandbox, call.format(us)).passed
    assert not attack(sandbox, f"import resource\nresource.prlimit({us}, resource.RLIMIT_NOFILE, (4, 4))").passed
    assert not attack(sandbox, f"os.setpriority(os.PRIO_PROCESS, {us}, 19)").passed
    assert not attack(sandbox, f"os.sched_setaffinity({us}, [0])").passed
    assert not attack(sandbox, f"assert ctypes.CDLL(None).ptrace(16, {us}, 0, 0) == 0").passed
    assert os.getpriority(os.PRIO_PROCESS, 0) < 19


def test_rights_are_gone_for_good(sandbox: Sandbox) -> None:
    assert not attack(sandbox, "assert ctypes.CDLL(None).unshare(0x10000000) == 0").passed
    assert not attack(sandbox, "assert ctypes.CDLL(None).mount(b'none', b'/', b'tmpfs', 0, None) == 0").passed
    assert not attack(sandbox, "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))").passed
    assert not attack(sandbox, "assert ctypes.CDLL(None).syscall(425, 1, 0) >= 0").passed  # io_uring


def test_memory_is_bounded(sandbox: Sandbox) -> None:
    assert attack(sandbox, "kept = [bytearray(1 << 26) for _ in range(64)]").reason == "the program raised MemoryError"
    assert not judged(sandbox, "def answer(x):\n    return [0] * (1 << 40)\n").passed
    assert not attack(sandbox, "assert ctypes.CDLL(None).syscall(319, b'x', 0) >= 0").passed  # memfd_create


def test_time_is_bounded(sandbox: Sandbox) -> None:
    for program in ("while True: pass\n", "import time\ntime.sleep(1000)\n", "import signal\nsignal.pause()\n"):
        begun = time.monotonic()
        assert not judged(sandbox, program).passed
        assert time.monotonic() - begun < 15
    assert not judged(sandbox, "def answer(x):\n    while True: pass\n").passed
    assert not judged(sandbox, "def answer(x):\n    return iter(int, 1)\n").passed


def test_a_flood_of_output_is_dropped(sandbox: Sandbox) -> None:
    flood = "import os, sys\nfor _ in range(2000): os.write(1, b'x' * 65536); os.write(2, b'x' * 65536)\nprint('x' * 10**7)\n"
    assert judged(sandbox, flood + RIGHT).passed
    assert "4 MiB" in str(judged(sandbox, "def answer(x):\n    return 'x' * (1 << 23)\n").reason)


@pytest.mark.parametrize(
    "forgery",
    [
        "import os\nos._exit(0)\n",
        "import sys\nsys.exit(0)\n",
        "import os\nos.write(1, b'ready\\n{\"passed\": true, \"reason\": null}\\n')\n" + WRONG,
        "import os\nfor d in range(3, 64):\n    try: os.write(d, b'{\"passed\": true, \"reason\": null}\\n')\n"
        "    except OSError: pass\nos._exit(0)\n",
        "import os\ndef answer(x):\n    os._exit(0)\n",
        # builtins, the JSON writer and the answering loop, patched from within
        "import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.int.__eq__ = lambda a, b: True\n" + WRONG,
        "import builtins, json\njson.dumps = lambda *a, **k: 'true'\nbuiltins.isinstance = lambda *a: True\n" + WRONG,
        "import sys\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'judge'): m.judge = m.verdict = lambda *a: None\n" + WRONG,
        # values that claim to equal everything
        "class Same(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef answer(x):\n    return Same(1)\n",
        "class Same:\n    def __eq__(self, other): return True\ndef answer(x):\n    return Same()\n",
        "class Same(dict):\n    def __eq__(self, other): return True\ndef answer(x):\n    return Same()\n",
        # messages of the protocol, written by hand
        "import os\nfor d in range(3, 64):\n    try: os.write(d, b'true\\nnull\\n{\"list\": []}\\n[[[[\\n')\n    except OSError: pass\n" + WRONG,
        "def answer(x):\n    import sys\n    sys._getframe(1).f_locals['channel'].send('{\"tuple\": [\"passed\", true]}')\n    return 0\n",
        "sys = __import__('sys')\nsys.setrecursionlimit(10**6)\ndef answer(x):\n    v = []\n    for _ in range(10**5): v = [v]\n    return v\n",
    ],
)  # fmt: skip
def test_a_verdict_cannot_be_forged(sandbox: Sandbox, forgery: str) -> None:
    outcome = judged(sandbox, forgery)
    assert not outcome.passed
    assert outcome.reason


def test_values_keep_their_types(sandbox: Sandbox) -> None:
    values = [
        None,
        True,
        2,
        1.5,
        float("inf"),
        10**30,
        "ä\n",
        b"\0\xff",
        [1, [2]],
        (1, 2),
        {1, 2},
        {(1, 2): "a"},
        3 + 4j,
        range(3),
    ]
    for value in values:
        program = f"def answer(x):\n    assert x == {value!r} and type(x) is type({value!r})\n    return x\n".replace(
            "inf", "1e999"
        )
        test = f"def check(f):\n    v = f({value!r})\n    assert v == {value!r} and type(v) is {type(value).__name__}\n"
        assert judged(sandbox, program, test.replace("inf", "1e999").replace("NoneType", "type(None)")).passed, value
    test = "def check(f):\n    assert f(1) != [0, 1]\n    assert list(f(1)) == [0, 1]\n"
    assert judged(sandbox, "def answer(x):\n    yield from (0, 1)\n", test).passed


def test_tests_may_use_the_prompt_and_the_entry_point(sandbox: Sandbox) -> None:
    prelude = "def helper(x):\n    return x + 1\n\ndef answer(x):\n    '''Twice the helper.'''\n"
    test = "def check(candidate):\n    assert candidate(1) == answer(1) == 2 * helper(1)\n"
    program = prelude + "    return 2 * helper(x)\n"
    assert sandbox.run(program, prelude=prelude, test=test, entry_point="answer").passed
    # The program's own version of the helper is not the test's.
    cheat = "def helper(x):\n    return 0\n\ndef answer(x):\n    return 0\n"
    assert not sandbox.run(cheat, prelude=prelude, test=test, entry_point="answer").passed


def test_no_process_is_left_behind(sandbox: Sandbox) -> None:
    judged(sandbox, "import time\ntime.sleep(1000)\n")
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not [command for command in commands if b"sandbox.child" in command]


def test_where_nothing_confines_the_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whichbits.accuracy.sandbox.run.COMMAND", "print('refused: unshare (Operation not permitted)')")
    with pytest.raises(SandboxUnavailable, match=r"namespaces: refused: unshare.*landlock: refused"):
        open_sandbox()


def test_confined_processes_end_with_who_asked_for_them(sandbox: Sandbox):
    asks = (
        "from whichbits.accuracy.sandbox.run import Sandbox\n"
        f"Sandbox({sandbox.mode!r}, cpu_seconds=60, wall_seconds=60).run("
        "'while True: pass', prelude='', test='def check(f): f()', entry_point='f')"
    )
    process = subprocess.Popen([sys.executable, "-c", asks])
    here = psutil.Process(process.pid)

    def until(condition, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)
        return bool(condition())

    assert until(lambda: any(child.cpu_times().user > 0.3 for child in here.children(recursive=True)), 20.0)
    children = here.children(recursive=True)
    process.kill()
    process.wait()
    assert until(lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children), 3.0)


NUMPY = "import numpy as np\ndef answer(x):\n    return {}\n"


def test_numpy_can_be_imported_and_its_numbers_are_pythons(sandbox: Sandbox) -> None:
    roomy = replace(sandbox, memory_bytes=1 << 30, cpu_seconds=5, wall_seconds=20)
    assert judged(roomy, NUMPY.format("np.array([2, 2 * x])[np.array([1, x]) > 0].sum()")) == Outcome(passed=True, reason=None)
    test = "import numpy as np\ndef check(function):\n    np.testing.assert_allclose(function(20), [0.5, 1.0], rtol=1e-6)\n"
    assert judged(roomy, NUMPY.format("[np.float64(0.5), np.linalg.norm(np.eye(1))]"), test).passed
    assert not judged(roomy, NUMPY.format("[0.5, np.float32(1.1)]"), test).passed
    assert judged(roomy, NUMPY.format("np.zeros(3)"), test).reason == "Raised: TypeError"


def test_nothing_else_that_is_installed_can_be_imported(sandbox: Sandbox) -> None:
    roomy = replace(sandbox, memory_bytes=1 << 30, cpu_seconds=5, wall_seconds=20)
    for name in ("torch", "scipy", "whichbits", "psutil", "pandas"):
        assert judged(roomy, f"import numpy\nimport {name}\n{RIGHT}").reason == "the program raised ModuleNotFoundError"
    installed = Path(np.__file__).parents[1]
    assert not judged(roomy, f"import sys\nsys.path.append({str(installed)!r})\nimport psutil\n{RIGHT}").passed
