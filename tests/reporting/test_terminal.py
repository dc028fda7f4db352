import io
import re
from pathlib import Path

from rich.console import Console

from whichbits.reporting.context import PublishedComparison
from whichbits.reporting.safe_text import plain
from whichbits.reporting.terminal import Bullets, summary
from whichbits.verdict.caveat_codes import Remark
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.verdict import NoRecommendation


def shown(verdict, report: Path | None = None, serve: dict[str, str] | None = None, **options) -> str:
    out = io.StringIO()
    summary(verdict, Console(file=out, width=80, **options), report, serve)
    return out.getvalue()


def test_80_columns_without_colour(verdict):
    text = shown(verdict, Path("studies/demo/report.html"), no_color=True)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"^w8a8-fp +inconclusive, emulated +99\.0 % \(97\.5 – 100\.5\) +0\.61×$", text, re.MULTILINE)
    for fact in ("Deploy w8a8-int", "99.3 % (97.9 – 100.7)", "0.61×", "asynchronous", "410 more items of order"):
        assert fact in text
    assert text.rstrip().endswith("Report  studies/demo/report.html")


def test_a_long_path_stays_on_one_line(verdict):
    path = Path("/", *["folder"] * 20, "report.html")
    assert str(path) in shown(verdict, path)


def test_a_study_in_which_all_failed(empty_verdict):
    text = shown(empty_verdict)
    assert "No verdict" in text
    assert "Deploy" not in text


def test_text_cannot_steer_the_terminal(verdict):
    evil = "[red]\x1b[2J\x07\u202eevil"
    bad = verdict.model_copy(update={"base": evil, "caveats": (Remark(text=evil),)})
    text = shown(bad, force_terminal=True, color_system="truecolor")
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "[red]" in text
    assert plain("a\nb\x1bc").plain == "a b\ufffdc"


def test_what_was_not_compared_and_where_is_shown(verdict):
    refused = NoRecommendation(workload="demo-chat", deployment="h100", mode="asynchronous", code="base_not_measured")
    text = shown(verdict.model_copy(update={"not_recommended": (refused,)}), no_color=True)
    assert re.search(r"demo-chat on h100 +asynchronous +not compared", text)
    assert "demo-chat on cpu, 2 cores" in text


def test_what_is_recommended_is_served_by_a_command_of_one_line(verdict):
    commands = {name: f"vllm serve /{'folder/' * 20}{name}" for name in ("w8a8-int", "w4a16-int", "bf16")}
    text = shown(verdict, serve=commands)
    recommended = {entry.candidate for entry in verdict.recommendations}
    assert recommended
    assert {name for name in commands if f"Serve   {commands[name]}\n" in text} == recommended


def test_queries_per_dollar_stand_where_there_is_a_price(verdict):
    text = shown(verdict, no_color=True)
    entry = verdict.recommendations[0]
    place = (entry.candidate, entry.workload, entry.deployment, entry.mode)
    cost = next(c for c in verdict.cost if (c.candidate, c.workload, c.deployment, c.mode) == place)
    assert f"{cost.queries_per_dollar.value:,.0f} (" in " ".join(text.split())
    unpriced = tuple(c.model_copy(update={"queries_per_dollar": None}) for c in verdict.cost)
    assert "Queries per dollar" not in shown(verdict.model_copy(update={"cost": unpriced}))


def test_published_recoveries_of_suites_stand_next_to_the_studys(verdict):
    own = Estimate(value=99.3, low=97.9, high=100.7)
    of_suite = PublishedComparison(
        candidate="w8a8-int",
        on="leaderboard-v1",
        quantity="recovery",
        own=own,
        own_tasks=("order",),
        published=100.31,
        source="t",
    )
    of_task = of_suite.model_copy(update={"on": "gsm8k_llama", "own_tasks": ()})
    out = io.StringIO()
    summary(verdict, Console(file=out, width=80, no_color=True), published=(of_suite, of_task))
    assert re.search(r"^w8a8-int +99\.3 % \(97\.9 – 100\.7\) +100\.31 % +leaderboard-v1$", out.getvalue(), re.MULTILINE)
    assert "gsm8k_llama" not in out.getvalue()
    assert "published" not in shown(verdict)


def test_bullets_hang_and_have_no_blanks_at_their_ends() -> None:
    console = Console(file=io.StringIO(), width=12)
    console.print(Bullets(["one two three", "four"]))
    assert console.file.getvalue() == " • one two\n   three\n • four\n"
