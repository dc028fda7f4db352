import io
import re
from pathlib import Path

from rich.console import Console

from whichbits.reporting.terminal import plain, summary
from whichbits.verdict.caveat_codes import Remark
from whichbits.verdict.model import NoRecommendation


def shown(verdict, report: Path | None = None, **options) -> str:
    out = io.StringIO()
    summary(verdict, Console(file=out, width=80, **options), report)
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
