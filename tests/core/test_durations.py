from __future__ import annotations

import pytest

from whichbits.core.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.5, "1 min 00 s"), (185, "3 min 05 s"), (3600, "1 h 00 min"), (7800, "2 h 10 min")],
)
def test_durations_are_whole(seconds: float, text: str) -> None:
    assert duration(seconds) == text
