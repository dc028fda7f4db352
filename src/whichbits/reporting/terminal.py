"""The verdict in a terminal: readable in 80 columns and without colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from whichbits.reporting.capacity import CapacityRow, capacity_rows
from whichbits.reporting.context import PublishedComparison
from whichbits.reporting.judged import JudgedRow, judged_tables
from whichbits.reporting.numbers import interval, times
from whichbits.reporting.overview import is_emulated, would_change
from whichbits.reporting.prefill_decode import bound_lines
from whichbits.reporting.safe_text import plain
from whichbits.reporting.terminal_thinking import NOTE, thinking_tables
from whichbits.verdict.estimates import SingleRound
from whichbits.verdict.verdict import NoRecommendation, Recommendation, Verdict
from whichbits.verdict.words.answer import reasons, sentence
from whichbits.verdict.words.caveats import caveats
from whichbits.verdict.words.decisions import failure

STYLES = {"non-inferior": "green", "inferior": "red", "inconclusive": "yellow", "failed": "red", "base": "dim"}


@dataclass(frozen=True)
class Bullets:
    """Lines with a bullet each, whose further lines are indented; no blanks at their ends, unlike the cells of a table."""

    lines: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Break the lines at the console's width."""
        for line in self.lines:
            for number, part in enumerate(plain(line).wrap(console, max(options.max_width - 3, 1))):
                part.rstrip()
                yield Text("   " if number else " • ") + part


def _formats(verdict: Verdict) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Candidate", overflow="fold")
    table.add_column("Decision")
    table.add_column("Recovery", no_wrap=True)
    table.add_column("Size", justify="right", no_wrap=True)
    sizes = {s.candidate: s for s in verdict.sizes}
    for decision in verdict.formats:
        size = sizes.get(decision.candidate)
        note = ", emulated" if is_emulated(decision, verdict) else ""
        table.add_row(
            plain(decision.candidate),
            plain(decision.state, STYLES[decision.state]).append(note, "dim"),
            interval(decision.suite.recovery, "%", bound=100 * (1 - verdict.margin)) if decision.suite else "",
            f"{size.ratio:.2f}×" if size else "",
        )
    return table


def _recommendations(verdict: Verdict) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Workload", overflow="fold")
    table.add_column("Mode")
    table.add_column("Deploy", overflow="fold")
    table.add_column("Queries/$ vs base", no_wrap=True)
    deployments = {r.deployment for r in verdict.recommendations} | {r.deployment for r in verdict.not_recommended}
    several = len(deployments) > 1
    for r in verdict.recommendations:
        gain = times(r.advantage) if r.advantage else ""
        table.add_row(plain(_use(r, several)), r.mode, plain(r.candidate, "bold"), gain)
    for refused in verdict.not_recommended:
        table.add_row(plain(_use(refused, several)), refused.mode, plain("not compared", "dim"), "")
    return table


def _capacities(rows: Sequence[CapacityRow]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Workload", overflow="fold")
    table.add_column("Candidate", overflow="fold")
    table.add_column("Requests per second", no_wrap=True)
    table.add_column("Over the base's", no_wrap=True)
    for row in rows:
        table.add_row(plain(row.place), plain(row.candidate), row.rate, row.ratio)
    return table


def _judged(rows: Sequence[JudgedRow]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Candidate", overflow="fold")
    table.add_column("Against", overflow="fold")
    table.add_column("Win rate", no_wrap=True)
    table.add_column("At equal style", no_wrap=True)
    table.add_column("Swayed\nby order", justify="right", no_wrap=True)
    for row in rows:
        star = "*" if row.differs else ""
        table.add_row(plain(row.candidate), plain(row.against), row.win_rate + star, row.at_equal_style, row.swayed)
    return table


def _per_dollar(verdict: Verdict) -> Iterator[str]:
    """Queries per dollar of what is recommended, with the price, where there is one."""
    for entry in verdict.recommendations:
        place = (entry.candidate, entry.workload, entry.deployment, entry.mode)
        for cost in verdict.cost:
            if (cost.candidate, cost.workload, cost.deployment, cost.mode) == place and cost.queries_per_dollar is not None:
                value = cost.queries_per_dollar
                spread = "" if isinstance(value, SingleRound) else f" ({value.low:,.0f} – {value.high:,.0f})"
                use = f"{entry.candidate} for {entry.workload} on {entry.deployment}, {entry.mode}"
                yield f"{use}, at ${cost.price_per_hour:g}/h: {value.value:,.0f}{spread}"


def _use(entry: Recommendation | NoRecommendation, several: bool) -> str:
    """A workload, with its deployment where there are several."""
    return f"{entry.workload} on {entry.deployment}" if several else entry.workload


def _published(comparisons: Sequence[PublishedComparison]) -> Table:
    """What is published of whole suites, next to what the study found over all of its tasks."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Candidate", overflow="fold")
    table.add_column("Here, all tasks", no_wrap=True)
    table.add_column("Published", no_wrap=True)
    table.add_column("Of", overflow="fold")
    for entry in comparisons:
        own = interval(entry.own, "%") if entry.own else ""
        table.add_row(plain(entry.candidate), own, f"{entry.published:g} %", plain(entry.on))
    return table


def summary(
    verdict: Verdict,
    console: Console,
    report: Path | None = None,
    serve: Mapping[str, str] | None = None,
    published: Sequence[PublishedComparison] = (),
) -> None:
    """Print the verdict, its reasons, the formats, the recommendations and what would change them.

    `serve` holds the commands that serve candidates; those of what is recommended are printed. `report` is the path of the
    page. Both are on lines of their own, which are not broken. Of `published` recoveries those of suites are printed.
    """
    console.print()
    console.print(plain(sentence(verdict), "bold"))
    console.print(Bullets(reasons(verdict)))
    if verdict.formats:
        console.print()
        console.print(_formats(verdict))
    for title, table in thinking_tables(verdict):
        console.print()
        console.print(plain(title, "bold"))
        console.print(table)
    if verdict.thinking:
        console.print(plain(NOTE, "dim"))
    for judged in judged_tables(verdict):
        console.print()
        console.print(plain(f"Answers judged by {judged.judge}: {judged.task}", "bold"))
        console.print(_judged(judged.rows))
        if any(row.differs for row in judged.rows):
            console.print(Text("* The 95 % interval against the base excludes 50 %.", style="dim"))
    if suites := [entry for entry in published if entry.own_tasks]:
        console.print()
        console.print(Text("Recovery published for this model, by other recipes, prompts and engines", style="bold"))
        console.print(_published(suites))
    if verdict.recommendations or verdict.not_recommended:
        console.print()
        console.print(_recommendations(verdict))
    if rows := capacity_rows(verdict):
        console.print()
        console.print(Text("Highest rate at which the limits hold", style="bold"))
        console.print(_capacities(rows))
    for name in dict.fromkeys(entry.candidate for entry in verdict.recommendations):
        if serve and name in serve:
            console.print()
            console.print(Text("Serve   ") + plain(serve[name]), soft_wrap=True)
    for title, lines in (
        ("Queries per dollar", list(_per_dollar(verdict))),
        ("What most of the latency is", bound_lines(verdict)),
        ("What would change the answer", [f"{about}: {line}" for about, line in would_change(verdict)]),
        ("Caveats", [*caveats(verdict), *map(failure, verdict.failures)]),
    ):
        if lines:
            console.print()
            console.print(Text(title, style="bold"))
            console.print(Bullets(lines))
    if report is not None:
        console.print()
        console.print(Text("Report  ") + plain(str(report)), soft_wrap=True)
