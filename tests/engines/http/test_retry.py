from __future__ import annotations

import time

import pytest

from whichbits.engines.http.retry import NO_PATIENCE, Patience, retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-3", 0.0), (None, None), ("soon", None), ("", None), ("inf", None), ("nan", None),
     ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0), ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=1445412480.0) == seconds


def test_pauses_grow_and_end() -> None:
    patience, waited, pauses = Patience(0.5, 4.0, 20.0), 0.0, []
    while (pause := patience.pause(len(pauses), waited)) is not None:
        pauses.append(pause)
        waited += pause
    assert 5 <= len(pauses) <= 9 and waited <= 20.0
    assert all(0.5 * 2**n <= pause <= 0.6 * 2**n for n, pause in enumerate(pauses[:3]))


def test_the_servers_wish_counts_within_the_patience() -> None:
    assert Patience().pause(0, 0.0, "7") == 7.0
    assert Patience().pause(0, 0.0, "3600") is None
    assert NO_PATIENCE.pause(0, 0.0) is None


def test_a_date_is_from_now() -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 10))
    assert retry_after_s(date) == pytest.approx(10, abs=1.5)
