"""Thinking modes on the page and in the terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from whichbits.reporting.page import render
from whichbits.reporting.terminal import summary
from whichbits.schema.metrics import Measure
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.verdict import ModeRecovery, ModeResult, ReplyFigure, Verdict

MEASURES = (
    Measure(key="words", title="Words a reply", better="neither"),
    Measure(key="tokens", title="Tokens a reply", better="neither"),
    Measure(key="truncated", title="Truncated replies", unit="%", better="lower"),
    Measure(key="repetitive", title="Repetitive replies", unit="%", better="lower"),
)


def about(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def figures(length: float, share: float, *, base: bool) -> tuple[ReplyFigure, ...]:
    def figure(key: str, value: float, half: float, change: Estimate) -> ReplyFigure:
        return ReplyFigure(measure=key, estimate=about(value, half), change=None if base else change)

    return (
        figure("words", length, length / 20, about(31, 12)),
        figure("tokens", 1.4 * length, length / 15, about(-3, 12)),
        figure("truncated", share / 2, 0.01, about(0.004, 0.01)),
        figure("repetitive", share, 0.02, about(0.051, 0.03)),
    )


@pytest.fixture
def thought(verdict: Verdict) -> Verdict:
    results = [
        ModeResult(
            candidate=candidate, task=task, mode=mode, engine="vllm", provenance="measured", items=items, replies=items,
            score=score, recovery=None if candidate == "bf16" else about(98.2, 2.1),
            figures=figures(length, share, base=candidate == "bf16"), seconds=length / 2, concurrency=16,
            steps=tuple(step.key for step in ()),
        )
        for task, items in (("humaneval_chat", 164), ("mbpp_chat", 257))
        for candidate, score in (("bf16", 0.854), ("w8a8-int", 0.841), ("w4a16-int", 0.811))
        for mode, length, share in (("slow", 2400.0, 0.08), ("auto", 1100.0, 0.05), ("off", 140.0, 0.01))
    ]  # fmt: skip
    modes = [
        ModeRecovery(
            candidate=candidate, mode=mode, engine="vllm", provenance="measured", items=421,
            tasks=(f"humaneval_chat ({mode})", f"mbpp_chat ({mode})"), recovery=about(value, 1.7), steps=(),
        )
        for mode, value in (("slow", 98.5), ("auto", 97.7), ("off", 99.4))
        for candidate in ("w8a8-int", "w4a16-int")
    ]  # fmt: skip
    return verdict.model_copy(update={"thinking": tuple(results), "modes": tuple(modes), "reply_measures": MEASURES})


def printed(verdict: Verdict) -> str:
    out = io.StringIO()
    summary(verdict, Console(file=out, width=80, force_terminal=False))
    return out.getvalue()


def test_the_page_has_the_table_of_every_task(thought, context):
    page = render(thought, context)
    section = page[page.index('<section id="thinking">') : page.index('<section id="similarity">')]
    assert '<a href="#thinking">' in page
    assert re.findall(r"<h3>(.*?)</h3>", section) == ["humaneval_chat", "mbpp_chat"]
    assert section.count("<tr><td>slow</td>") == section.count("<tr><td>off</td>") == 6
    assert "Mode slow" in section and "Mode off" in section
    assert "<strong>+31 (19 – 43)</strong>" in section, "an interval without 0 stands out"
    assert "<small>−3 (−15 to 9)</small>" in section, "another does not"
    assert "<strong>+5.1 points (2.1 – 8.1)</strong>" in section
    assert "85.4 %" in section and "20 min" in section and "16 in flight" in section


def test_a_study_without_modes_has_no_such_section(verdict, context):
    page = render(verdict, context)
    assert "thinking" not in page.split('<script type="application/json"')[0]
    assert "Thinking modes" not in printed(verdict)


def test_the_terminal_has_them_in_80_columns(thought):
    text = printed(thought)
    assert max(map(len, text.splitlines())) <= 80
    start = text.index("Thinking modes: humaneval_chat")
    table = text[start : text.index("Thinking modes: mbpp_chat")]
    (row,) = [line for line in table.splitlines() if "slow" in line and "w8a8-int" in line]
    assert row.split() == ["slow", "w8a8-int", "84.1", "2,400*", "3,360", "4.0", "8.0*", "1,200"]
    (row,) = [line for line in table.splitlines() if "off" in line and "bf16" in line]
    assert "*" not in row


def test_names_from_outside_are_escaped(thought, context):
    evil = thought.model_copy(
        update={
            "thinking": tuple(one.model_copy(update={"mode": "<b>x</b>\x1b[2J", "task": "<i>"}) for one in thought.thinking)
        }
    )
    page = render(evil, context)
    assert "<b>x</b>" not in page and "<h3><i></h3>" not in page
    assert "\x1b" not in printed(evil)
