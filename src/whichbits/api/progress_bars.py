"""Bars that show how far long work is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from whichbits.models.progress_bars import without_progress_bars

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int], None]
"""Is told how many of all are done."""


@contextmanager
def progress_bars(console: Console | None) -> Iterator[Callable[[str], Progress]]:
    """Bars with the time left on the console: what is yielded begins one and returns what moves it."""
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from whichbits.quantization.passes.shared_pass import TEXT

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, console=console or RichConsole(stderr=True), transient=True) as bars:

        def start(what: str) -> Progress:
            bar = bars.add_task(what, total=None, visible=False, start=False, rate="")

            def show(done: int, total: int) -> None:
                if not bars.tasks[bar].started:
                    bars.start_task(bar)
                speed = bars.tasks[bar].speed if what == TEXT else None
                rate = "" if speed is None else f"{speed:.0f} tokens/s"
                bars.update(bar, completed=done, total=total, visible=True, rate=rate)

            return show

        with without_progress_bars():
            yield start
