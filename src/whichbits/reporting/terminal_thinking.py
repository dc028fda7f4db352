"""Thinking modes in a terminal: a table a task."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from whichbits.reporting.numbers import fixed
from whichbits.reporting.panels import by
from whichbits.reporting.safe_text import plain
from whichbits.reporting.thinking import figure_of, is_changed, reply_measures
from whichbits.schema.metrics import Measure
from whichbits.verdict.verdict import ModeResult, Verdict

NOTE = "* The 95 % interval of the change from the base, paired item by item, excludes 0. The report has all intervals."


def thinking_tables(verdict: Verdict) -> Iterator[tuple[str, Table]]:
    """Title and table of each task that was asked in thinking modes; units stand in the heads."""
    measures = reply_measures(verdict)
    heads = ["Score, %", *(f"{m.title}, {m.unit}" if m.unit else m.title for m in measures), "Time, s"]
    for (task,), results in by(verdict.thinking, "task").items():
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("Mode")
        table.add_column("Candidate", overflow="fold")
        for head in heads:
            table.add_column(Text("\n").join(map(plain, head.split(" ", 1))), justify="right", no_wrap=True)
        modes = list(dict.fromkeys(result.mode for result in results))
        for result in sorted(results, key=lambda result: modes.index(result.mode)):
            figures = [_figure(result, measure) for measure in measures]
            time = "" if result.seconds is None else _number(result.seconds)
            table.add_row(plain(result.mode), plain(result.candidate), fixed(100 * result.score, 1), *figures, time)
        yield f"Thinking modes: {task}", table


def _figure(result: ModeResult, measure: Measure) -> str:
    """A mean, with a star where it is changed."""
    figure = figure_of(result, measure)
    if figure is None:
        return ""
    value = figure.estimate.value
    text = fixed(100 * value, 1) if measure.unit == "%" else _number(value)
    return text + ("*" if is_changed(figure) else "")


def _number(value: float) -> str:
    """A count or seconds: tenths below 10."""
    return fixed(value, 0 if value >= 10 else 1)
