"""Win rates of judged answers, in the page and in the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from whichbits.reporting.page import render
from whichbits.reporting.terminal import summary
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.judged_finding import JudgedFinding
from whichbits.verdict.verdict import Verdict


def finding(candidate: str, against: Any, rate: Estimate | None, steps: tuple[str, ...], **more: Any) -> JudgedFinding:
    return JudgedFinding(
        candidate=candidate, task="arena_hard_v0.1", engine="vllm", provenance="measured", against=against, items=500,
        score=0.5, win_rate=rate, win_rate_at_equal_style=rate, judge="gpt-4-1106-preview", rounds=2, swayed_by_order=0.213,
        changed_when_repeated=0.08, without_label=3, identical=0, requests=2000, dollars=61.5, steps=steps, **more,
    )  # fmt: skip


@pytest.fixture
def judged(verdict: Verdict) -> Verdict:
    steps = verdict.tasks[0].steps[:1]
    return verdict.model_copy(
        update={
            "judged": (
                finding("bf16", "baseline", Estimate(value=0.21, low=0.18, high=0.24), steps),
                finding("w8a8-int", "base", Estimate(value=0.495, low=0.47, high=0.52), steps),
                finding("w4a16-int-mse", "base", Estimate(value=0.44, low=0.411, high=0.467), steps),
                finding("w4a8-int", "base", None, steps),
                finding("w8a8-fp", "base", Estimate(value=0.5 - 1e-8, low=0.5 - 2e-8, high=0.5 - 1e-8), steps),
            )
        }
    )


def printed(verdict: Verdict) -> str:
    out = io.StringIO()
    summary(verdict, Console(file=out, width=80, no_color=True))
    return out.getvalue()


def test_the_page_has_both_comparisons(judged: Verdict, context: Any) -> None:
    page = render(judged, context)
    part = page[page.index('<h3 id="judged">') :].partition('<h3 id="emulation">')[0]
    assert "judged by gpt-4-1106-preview, 2 times in both orders" in part
    assert "<strong>44.0 % (41.1 – 46.7)</strong>" in part
    assert "<strong>49.5 %" not in part and "49.5 % (47.0 – 52.0)" in part  # it holds 50 %
    assert "<strong>21.0 %" not in part  # of the baseline, not of the base
    assert "50.0 % (50.0 – 50.0)" in part and "<strong>50" not in part
    assert "no label" in part and "21.3 %" in part and "$61.50" in part and "3 of 2,000" in part


def test_the_terminal_has_them_in_80_columns(judged: Verdict) -> None:
    text = printed(judged)
    assert max(map(len, text.splitlines())) <= 80
    assert "Answers judged by gpt-4-1106-preview: arena_hard_v0.1" in text
    assert "44.0 % (41.1 – 46.7)*" in text and "49.5 % (47.0 – 52.0)*" not in text
    assert "The 95 % interval against the base excludes 50 %." in text


def test_a_study_without_a_judge_says_nothing_of_one(verdict: Verdict, context: Any) -> None:
    assert 'id="judged"' not in render(verdict, context)
    assert "judged by" not in printed(verdict)


def test_names_from_outside_are_escaped(judged: Verdict, context: Any) -> None:
    hostile = judged.judged[0].model_copy(update={"judge": "<script>alert(1)</script>\x1b[31m"})
    told = judged.model_copy(update={"judged": (hostile,)})
    assert "<script>alert" not in render(told, context)
    assert "\x1b" not in printed(told)
