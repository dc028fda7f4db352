"""What a run shows while it works: a live view on a terminal, a line an event elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from whichbits.core.durations import duration
from whichbits.studies.planning.estimate import Durations

if TYPE_CHECKING:
    from whichbits.schema.step import Step
    from whichbits.studies.execution.runner import State
    from whichbits.studies.steps.planned import Planned

TIME_LEFT_SHARE = 0.02
"""The time left is computed over all steps that are left, in no more than this share of the time."""
LOG_EVERY_S = 10.0
"""A running step's progress goes to the log at most this often."""


def name(step: Step) -> str:
    """What people call a step: its kind and what distinguishes it."""
    labels = step.labels
    parts = [part for part in (labels.candidate, labels.task, labels.workload, labels.text, labels.engine) if part]
    if labels.shard:
        parts.append(f"shard {labels.shard}")
    if labels.repeat:
        parts.append(f"repeat {labels.repeat}")
    return f"{step.kind} {' · '.join(parts)}"


class _LogFile(logging.FileHandler):
    """A log whose errors (a full disk) are errors of the run, not text on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


class RunView:
    """Observer of a run: shows each step's start, progress and end, how many are left, and about how long that takes.

    Everything goes to `log` too. `wall_clock` says how long steps take together that take so many seconds each.
    """

    def __init__(
        self,
        console: Console,
        durations: Durations,
        log: Path,
        wall_clock: Callable[[Iterable[tuple[Planned, float]]], float],
    ) -> None:
        self.console = console
        self._left: dict[str, Planned] = {}
        self._count = 0
        self._durations = durations
        self._wall_clock = wall_clock
        self._running: dict[str, tuple[Step, float, str]] = {}
        self._logged: dict[str, float] = {}
        self._failed = 0
        self._note = ""
        self._time_left, self._time_left_due = "", 0.0
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)
        self._logger = logging.getLogger(f"whichbits.studies.study.{id(self)}")
        self._logger.propagate = False
        self._logger.setLevel(logging.INFO)
        handler = _LogFile(log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._logger.addHandler(handler)

    def __enter__(self) -> RunView:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.console.is_terminal:
            self._live.stop()
        for handler in tuple(self._logger.handlers):
            handler.close()
            self._logger.removeHandler(handler)

    def added(self, steps: Sequence[Planned]) -> None:
        """These are to be run."""
        with self._lock:
            self._left |= {planned.step.key: planned for planned in steps}
            self._count += len(steps)
            self._time_left_due = 0.0

    def started(self, step: Step) -> None:
        """The step began to run."""
        with self._lock:
            self._running[step.key] = (step, time.monotonic(), "")
            self._note = ""
        self._logger.info("start  %s %s", name(step), step.key[:12])

    def progress(self, step: Step, text: str) -> None:
        """The step says how far it is."""
        now = time.monotonic()
        with self._lock:
            known, since, _ = self._running.get(step.key, (step, now, ""))
            self._running[step.key] = (known, since, text)
            quiet = now - self._logged.get(step.key, -LOG_EVERY_S) < LOG_EVERY_S
            if not quiet:
                self._logged[step.key] = now
        if not quiet:
            self._logger.info("       %s: %s", name(step), text)

    def ended(self, step: Step, state: State, seconds: float, error: str | None, addresses: Sequence[str] = ()) -> None:
        """The step is done, with what was answered at these addresses, or has failed."""
        with self._lock:
            self._running.pop(step.key, None)
            self._left.pop(step.key, None)
            self._failed += state == "failed"
            if state == "done":
                self._durations.add(step.kind, step.labels, seconds)
        where = f"from {', '.join(addresses)}" if addresses else ""
        self._logger.info("%-6s %s %.1f s %s", state, name(step), seconds, error or where)
        mark = Text("✓ ", style="green") if state == "done" else Text("✗ ", style="red")
        line = Text.assemble(mark, f"{name(step)}  ", (f"{seconds:.0f} s" if state == "done" else error or "", "dim"))
        self.console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something else happened, as a server starting."""
        with self._lock:
            self._note = text
        self._logger.info("note   %s", text)

    def _render(self) -> Group:
        """The live part: one line a running step, then how far the whole is."""
        with self._lock:
            rows = Table.grid(padding=(0, 1))
            for step, since, text in self._running.values():
                rows.add_row(
                    "▸", Text(name(step)), f"{time.monotonic() - since:.0f} s", Text(text, style="dim", overflow="ellipsis")
                )
            if self._note:
                rows.add_row("▸", Text(self._note))
            done = self._count - len(self._left)
            began = time.monotonic()
            if self._left and began >= self._time_left_due:
                self._time_left = self._say_time_left()
                self._time_left_due = began + (time.monotonic() - began) / TIME_LEFT_SHARE
            bar = Table.grid(padding=(0, 1))
            bar.add_row(
                ProgressBar(total=max(self._count, 1), completed=done, width=28),
                f"{done}/{self._count} steps",
                self._time_left,
                Text(f"{self._failed} failed", style="red") if self._failed else "",
            )
            return Group(rows, bar)

    def _say_time_left(self) -> str:
        each = [(planned, self._durations.planned(planned)) for planned in self._left.values()]
        known = self._wall_clock((planned, seconds or 0.0) for planned, seconds in each)
        about = f"about {duration(known)}" if known else "an unknown time"
        more = " or more" if known and any(seconds is None for _, seconds in each) else ""
        return f"{about}{more} left"
