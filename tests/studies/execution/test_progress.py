"""What a run shows while it works."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from tests.studies.execution.fake_study import Given
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.studies.execution.progress import RunView
from whichbits.studies.planning.estimate import Durations
from whichbits.studies.steps.planned import Planned


def test_the_time_left_of_many_steps_takes_a_small_share_of_the_time(tmp_path: Path) -> None:
    """Each step's time is looked at; with 10,000 steps, several times a second, that would be most of a processor."""
    asked: list[int] = []

    def slowly(steps: Iterable[tuple[Planned, float]]) -> float:
        asked.append(len(list(steps)))
        time.sleep(0.02)
        return 90.0

    steps = [Planned(Step("add", 1, Given(value=n), {}, Labels(task=str(n)))) for n in range(30)]
    durations = Durations()
    durations.add("add", Labels(), 3.0)
    screen = Console(file=io.StringIO(), width=120, force_terminal=True)
    view = RunView(screen, durations, tmp_path / "run.log", slowly)
    view.added(steps)
    with view:
        began, seen = time.monotonic(), 0
        while time.monotonic() - began < 0.5:
            screen.print(view._render())
            seen += 1
    assert asked[0] == 30 and len(asked) == 1 < seen
    assert "0/30 steps" in screen.file.getvalue() and "about 1 min 30 s left" in screen.file.getvalue()
