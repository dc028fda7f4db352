from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest

from whichbits.core import regex
from whichbits.core.cpu_limit import CpuLimit, cpu_limit
from whichbits.core.regex import RegexError, RegexTimeout, check, findall, found

ENDLESS = [
    (r"(a+)+$", "a" * 64 + "!"),
    (r"^(\w+\s?)*$", "word " * 12 + "!" * 2),
    (r"(a|aa)+$", "a" * 64 + "!"),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 64),
    (r"(.*)*x\1", "y" * 64),
    (r"(?=(a*)*b)", "a" * 64),
]


@pytest.mark.parametrize(("pattern", "text"), ENDLESS)
def test_a_pattern_without_end_ends(pattern: str, text: str):
    began = time.monotonic()
    with pytest.raises(RegexTimeout):
        found("search", pattern, [text], seconds=0.2)
    assert time.monotonic() - began < 10
    assert found("search", "a", ["a", "b"]) == [True, False], "the next pattern is answered"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(?i)É", "é"),
        (r"\bß", "ß"),
        ("(a)(b)?", "ac ab"),
        ("", "x"),
        ("^$", ""),
        (r"\d+", "٣ 4"),
        ("a", "\ud800a"),
        ("(?m)^b", "a\nb"),
    ],
)
def test_the_answers_are_those_of_re(pattern: str, text: str):
    assert found("search", pattern, [text]) == [re.search(pattern, text) is not None]
    assert found("match", pattern, [text]) == [re.match(pattern, text) is not None]
    assert found("fullmatch", pattern, [text]) == [re.fullmatch(pattern, text) is not None]
    assert findall(pattern, text) == re.findall(pattern, text)


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(" * 3000 + ")" * 3000, "(?P<a>x)(?P<a>y)", "[z-a]", r"\q"])
def test_what_is_no_pattern_is_an_error(pattern: str):
    with pytest.raises(RegexError):
        check(pattern)


def test_a_worker_that_was_killed_is_replaced():
    check("a")
    os.kill(regex.WORKER.pid, signal.SIGKILL)
    assert found("match", "a", ["a"]) == [True]


def test_threads_are_answered_each_for_its_own():
    answers: dict[int, list[bool]] = {}

    def ask(number: int) -> None:
        answers[number] = found("fullmatch", str(number), [str(number), "x"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [True, False] for number in range(8)}


def test_code_of_others_is_interrupted():
    with pytest.raises(CpuLimit), cpu_limit(0.2):
        re.search(*ENDLESS[0])
    with pytest.raises(CpuLimit), cpu_limit(0.2):
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001 - what a task's own code may do
            pass
    with cpu_limit(0.2):
        assert sum(range(10)) == 45
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
