"""Several processes at one server have no more requests under way than one may have."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.http.slots import Slots

HOLD = """
import sys, time
from pathlib import Path
from whichbits.engines.http.slots import Slots
with Slots(Path(sys.argv[1]), 1).taken():
    print("taken", flush=True)
    time.sleep(600)
"""


def test_another_gets_what_is_left_free(tmp_path: Path) -> None:
    one, other = Slots(tmp_path, 2), Slots(tmp_path, 2)
    with one.taken(), other.taken():
        waiting = ThreadPoolExecutor(1).submit(other.taken().__enter__)
        time.sleep(0.05)
        assert not waiting.done()
    waiting.result(timeout=5)
    assert one.waited_s == pytest.approx(0, abs=0.02)
    assert other.waited_s == pytest.approx(0, abs=0.02), "only the first turn counts"


def test_waiting_for_the_first_turn_is_told(tmp_path: Path) -> None:
    one, other = Slots(tmp_path, 1), Slots(tmp_path, 1)
    with one.taken():
        waiting = ThreadPoolExecutor(1).submit(other.taken().__enter__)
        time.sleep(0.1)
    waiting.result(timeout=5)
    assert other.waited_s is not None
    assert other.waited_s >= 0.09


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    waiting = ThreadPoolExecutor(1).submit(Slots(tmp_path, 1).taken().__enter__)
    time.sleep(0.05)
    assert not waiting.done()
    process.kill()
    waiting.result(timeout=5)
    process.wait()


def test_endpoints_share_their_slots(fake, tmp_path: Path) -> None:
    """A task of ten requests and one of two: three are under way at a time until the end, and never more."""
    lock, under_way, most, three = threading.Lock(), 0, 0, threading.Barrier(3, timeout=20)

    def answered_by_threes(_body, _request):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        three.wait()
        with lock:
            under_way -= 1

    server = fake(change=answered_by_threes)

    def ask(first: int, count: int) -> None:
        with Endpoint(server.url, "m", max_length=64, concurrency=3, slots=Slots(tmp_path, 3)) as endpoint:
            endpoint.generate([[first, number] for number in range(count)], max_tokens=2)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(ask, 1, 10), pool.submit(ask, 2, 2)]:
            done.result(timeout=60)
    assert len(server.received) == 12
    assert most == 3
