"""One holder at a time, by link and rename alone; a holder that has ended or is silent is followed by one other."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.inputs import Inputs
from whichbits.schema.step import Step
from whichbits.studies.store import lease as leases
from whichbits.studies.store.lease import LONGEST_SILENCE_S, LeaseHeld, held, leased
from whichbits.studies.store.store import Store

HOLD = "import sys, time\nfrom pathlib import Path\nfrom whichbits.studies.store.lease import leased\n" + (
    "with leased(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def elsewhere(path: Path) -> None:
    """Have the lease look like that of a living process of another machine."""
    path.write_text(path.read_text().replace('"machine":"', '"machine":"another '))


def silent(path: Path, seconds: float) -> None:
    changed = path.stat().st_mtime - seconds
    os.utime(path, (changed, changed))


def left_over(path: Path) -> None:
    """A lease of another machine's process that has been silent for so long that it can be taken over."""
    with leased(path):
        elsewhere(path)
        text = path.read_text()
    path.write_text(text)
    silent(path, LONGEST_SILENCE_S + 1)


def test_a_lease_has_one_holder_and_leaves_nothing(tmp_path: Path):
    path = tmp_path / "lease"
    with leased(path):
        assert held(path) is not None
        with pytest.raises(LeaseHeld) as raised, leased(path):
            pass
        assert raised.value.holder.pid == os.getpid()
        assert raised.value.silent_s < 5
    assert list(tmp_path.iterdir()) == []
    assert held(path) is None


def test_a_killed_holder_of_this_machine_is_followed_at_once(tmp_path: Path):
    path = tmp_path / "lease"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LeaseHeld), leased(path):
            pass
        holder.kill()
        holder.wait()
        with leased(path) as own:
            assert not own.lost
    assert list(tmp_path.iterdir()) == []


def test_a_holder_of_another_machine_is_followed_once_it_is_silent_by_the_file_systems_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "lease"
    with leased(path) as other:
        elsewhere(path)
        silent(path, LONGEST_SILENCE_S - 10)
        monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock is decades ahead
        with pytest.raises(LeaseHeld) as raised, leased(path):
            pass
        assert LONGEST_SILENCE_S - 11 < raised.value.silent_s < LONGEST_SILENCE_S
        silent(path, LONGEST_SILENCE_S + 1)
        assert held(path) is None
        with leased(path) as own:
            assert not own.lost
            other._ending.wait(leases.RENEWED_S + 1)
            assert other.lost  # it wakes up, and knows that it holds nothing any more
            assert not own.lost
        assert not path.exists()


def test_a_holder_that_could_not_renew_counts_itself_out_before_another_may_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with leased(tmp_path / "lease") as own:
        now = leases.now()
        monkeypatch.setattr(leases, "now", lambda: now + LONGEST_SILENCE_S - leases.RENEWED_S)
        assert own.lost


def _want(path: Path, ready: Any, won: Any, all_have_tried: Any) -> None:
    ready.wait()
    try:
        with leased(path):
            won.put(os.getpid())
            all_have_tried.wait(120)
    except LeaseHeld:
        won.put(None)


@pytest.mark.parametrize("left", [False, True])
def test_of_many_that_want_it_at_once_one_gets_it(tmp_path: Path, left: bool):
    path, context = tmp_path / "lease", multiprocessing.get_context("fork")
    if left:
        left_over(path)
    ready, won, all_have_tried = context.Barrier(12), context.Queue(), context.Event()
    wanting = [context.Process(target=_want, args=(path, ready, won, all_have_tried)) for _ in range(12)]
    for process in wanting:
        process.start()
    answers = [won.get(timeout=120) for _ in wanting]
    all_have_tried.set()
    for process in wanting:
        process.join()
    assert len([answer for answer in answers if answer is not None]) == 1


def test_steps_of_a_store_are_held_apart_from_each_other_and_from_the_whole(tmp_path: Path):
    one, two = Step("a", 1, Inputs()), Step("b", 1, Inputs())
    with Store(tmp_path).locked_steps([one]), Store(tmp_path).locked_steps([two]):
        with pytest.raises(UserError, match="in use by another run"), Store(tmp_path).locked_steps([one]):
            pass
        with pytest.raises(UserError, match="in use by another run"), Store(tmp_path).locked():
            pass
    with Store(tmp_path).locked(), pytest.raises(UserError, match="in use by another run"), Store(tmp_path).locked_steps([one]):
        pass
    with Store(tmp_path).locked():
        pass


def test_a_lease_that_is_moved_by_mistake_stays_its_holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """B follows a silent holder; C, which has seen that one too, moves B's lease away for a moment; then D comes."""
    path = tmp_path / "lease"
    left_over(path)
    b, refused = leased(path), []
    look, read = leases.held, leases._read

    def held_by_none(where: Path) -> LeaseHeld | None:
        monkeypatch.setattr(leases, "held", look)
        found = look(where)
        b.__enter__()
        monkeypatch.setattr(leases, "_read", read_once_d_has_come)
        return found

    def read_once_d_has_come(where: Path) -> leases.Holder:
        if where.name.endswith(leases.MOVED) and not refused:
            refused.append(where)
            with pytest.raises(LeaseHeld), leased(path):
                pass
        return read(where)

    monkeypatch.setattr(leases, "held", held_by_none)
    with pytest.raises(LeaseHeld), leased(path):
        pass
    assert refused, "D has come while the lease was moved"
    found = look(path)
    assert found is not None
    assert (found.holder.machine, found.holder.pid) == (leases.machine_identity(), os.getpid())
    b.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_lease_of_bytes_that_are_no_text_is_followed_once_it_is_old(tmp_path: Path):
    path = tmp_path / "lease"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LeaseHeld), leased(path):
        pass
    silent(path, LONGEST_SILENCE_S + 1)
    with leased(path) as own:
        assert not own.lost


def test_a_run_of_another_machine_that_has_ended_is_waited_for_and_one_that_lives_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, path = Store(tmp_path), tmp_path / "leases" / "study"
    with store.locked():
        elsewhere(path)
        text = path.read_text()
    path.write_text(text)
    silent(path, LONGEST_SILENCE_S - 2)
    began = time.monotonic()
    with store.locked():
        assert 1 < time.monotonic() - began < 30
    path.write_text(text)
    silent(path, 20)
    pause = time.sleep

    def pause_while_it_is_renewed(seconds: float) -> None:
        pause(seconds)
        os.utime(path)

    monkeypatch.setattr(time, "sleep", pause_while_it_is_renewed)
    with pytest.raises(UserError, match="in use by another run"), store.locked():
        pass
