"""Thinking modes: recovery in each, replies against the base's item by item, and time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from whichbits.accuracy.replies.registry import MEASURES
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.pairing import PairingError
from whichbits.verdict.verdict import ModeResult, Verdict

FORMATS = {"fp16": "fp16", "w8a8-int": "w8a8-int"}
ITEMS = 60
SLOW, OFF = "slow", "off"


def replies(tokens: list[float], *, repetitive: int = 0, truncated: int = 0) -> dict[str, list[float]]:
    n = len(tokens)
    return {
        "words": [round(one / 2) for one in tokens],
        "tokens": tokens,
        "truncated": [1.0] * truncated + [0.0] * (n - truncated),
        "repetitive": [1.0] * repetitive + [0.0] * (n - repetitive),
    }


def evaluation(steps, candidate: str, mode: str, right: int, columns: dict[str, list[float]], **more: Any):
    n = len(columns["tokens"])
    task = f"{more.pop('task', 'humaneval_chat')} ({mode})"
    scores = np.array([1.0] * right + [0.0] * (n - right))
    items = {
        "item": [f"{task}-{i:03}" for i in range(n)],
        "prompt_hash": [f"{mode} {i}" for i in range(n)],
        "target_hash": [f"target {i}" for i in range(n)],
        "cluster": more.pop("clusters", [f"{task}-{i}" for i in range(n)]),
        "score": scores,
        **columns,
    }
    measured = [{"measure": MEASURES.get(key).described.model_dump(), "value": float(np.mean(columns[key]))} for key in columns]
    summary = {
        "task": task, "kind": "human-eval", "metric": "pass@1", "n": n, "score": float(scores.mean()), "chance": 0.0,
        "most": n, "mode": mode, "concurrency": 16,
        "replies": {"measures": measured, "count": n, "seconds": more.pop("seconds", 100.0)},
    }  # fmt: skip
    labels = {"candidate": candidate, "task": task, "mode": mode, "engine": more.pop("engine", "vllm"), "repeat": "0"}
    return steps.record("evaluate", labels, summary, items)


@pytest.fixture
def verdict(steps) -> Verdict:
    long, short = [1000.0 + 7 * i for i in range(ITEMS)], [100.0 + i for i in range(ITEMS)]
    longer = [value + 50 + (i % 5) for i, value in enumerate(long)]
    records = [
        evaluation(steps, "fp16", SLOW, 54, replies(long, repetitive=3, truncated=3), seconds=120.0),
        evaluation(steps, "fp16", OFF, 42, replies(short)),
        evaluation(steps, "w8a8-int", SLOW, 51, replies(longer, repetitive=18, truncated=12), seconds=90.0),
        evaluation(steps, "w8a8-int", OFF, 42, replies(short)),
    ]
    return decide(collect(records, "fp16", FORMATS), study="s", model="m")


def result(verdict: Verdict, candidate: str, mode: str) -> ModeResult:
    (found,) = [one for one in verdict.thinking if (one.candidate, one.mode) == (candidate, mode)]
    return found


def figures(of: ModeResult) -> dict[str, tuple[float, tuple[float, float] | None]]:
    return {
        one.measure: (one.estimate.value, None if one.change is None else (one.change.low, one.change.high))
        for one in of.figures
    }


def test_each_mode_has_its_recovery_and_the_suite_has_all(verdict: Verdict):
    found = {(one.candidate, one.mode): one for one in verdict.modes}
    assert set(found) == {("w8a8-int", SLOW), ("w8a8-int", OFF)}
    assert found["w8a8-int", SLOW].recovery.value == pytest.approx(100 * 51 / 54)
    assert found["w8a8-int", OFF].recovery.value == pytest.approx(100)
    assert found["w8a8-int", SLOW].tasks == ("humaneval_chat (slow)",)
    (suite,) = verdict.suites
    assert suite.recovery.value == pytest.approx(100 * (51 + 42) / (54 + 42))


def test_lengths_and_shares_are_compared_item_by_item(verdict: Verdict):
    base, slow = figures(result(verdict, "fp16", SLOW)), figures(result(verdict, "w8a8-int", SLOW))
    assert base["tokens"] == (pytest.approx(1206.5), None)
    assert slow["tokens"][0] == pytest.approx(1206.5 + 52)
    low, high = slow["tokens"][1] or (0, 0)
    assert 51 < low < 52 < high < 53, "a change of 50 to 54 on each item, though items differ by hundreds"
    assert (base["repetitive"][0], slow["repetitive"][0]) == (pytest.approx(0.05), pytest.approx(0.3))
    low, high = slow["repetitive"][1] or (0, 0)
    assert 0.1 < low < 0.25 < high < 0.4
    same = figures(result(verdict, "w8a8-int", OFF))
    assert same["words"][1] == (0, 0)
    low, high = same["truncated"][1] or (1, 1)
    assert low < 0 < high, "no reply of 60 changed: that does not show that none ever does"


def test_score_time_and_steps_of_a_result(verdict: Verdict):
    slow = result(verdict, "w8a8-int", SLOW)
    assert (slow.task, slow.items, slow.replies, slow.score) == ("humaneval_chat", ITEMS, ITEMS, pytest.approx(0.85))
    assert (slow.seconds, slow.concurrency, len(slow.steps)) == (90.0, 16, 2)
    assert slow.recovery is not None and slow.recovery.value == pytest.approx(100 * 51 / 54)
    assert result(verdict, "fp16", SLOW).recovery is None
    assert [measure.key for measure in verdict.reply_measures] == ["words", "tokens", "truncated", "repetitive"]
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_an_emulated_reply_has_no_time(steps):
    records = [evaluation(steps, "fp16", SLOW, 9, replies([10.0] * 10), engine="emulated")]
    (found,) = decide(collect(records, "fp16", FORMATS), study="s", model="m").thinking
    assert (found.provenance, found.seconds) == ("emulated", None)
    assert figures(found)["tokens"] == (10.0, None)


def test_clusters_widen_the_interval(steps):
    tokens, more = [100.0] * 40, [100.0 + 10 * (i // 8) for i in range(40)]
    together = [f"c{i // 8}" for i in range(40)]

    def width(clusters: list[str] | None) -> float:
        stated = {} if clusters is None else {"clusters": clusters}
        records = [
            evaluation(steps, name, SLOW, 30, replies(list(of)), **stated)
            for name, of in (("fp16", tokens), ("w8a8-int", more))
        ]
        found = decide(collect(records, "fp16", FORMATS), study="s", model="m")
        low, high = figures(result(found, "w8a8-int", SLOW))["tokens"][1] or (0, 0)
        return high - low

    assert width(together) > 2 * width(None)


def test_replies_to_other_items_are_an_error(steps):
    first = evaluation(steps, "fp16", SLOW, 9, replies([10.0] * 10))
    second = evaluation(steps, "w8a8-int", SLOW, 9, replies([10.0] * 11))
    with pytest.raises(PairingError, match=r"humaneval_chat \(slow\).*replies to other items"):
        collect([first, second], "fp16", FORMATS)


def test_a_study_without_modes_has_none_of_it(steps):
    records = [steps.evaluate("bf16", [1, 1, 1, 0]), steps.evaluate("w8a8-int", [1, 0, 1, 0])]
    found = decide(collect(records, "bf16", {"bf16": "bf16", "w8a8-int": "w8a8-int"}), study="s", model="m")
    assert (found.modes, found.thinking, found.reply_measures) == ((), (), ())


def test_a_candidate_that_stopped_early_is_compared_on_the_items_it_has(steps):
    """The replies that the base alone has given are of another length, and change nothing."""
    base = [1000.0 + 7 * i for i in range(ITEMS)]
    short = [value + 10 + (i % 3) for i, value in enumerate(base[:40])]
    records = [
        evaluation(steps, "fp16", SLOW, 36, replies([*base[:40], *[9000.0] * 20])),
        evaluation(steps, "w8a8-int", SLOW, 36, replies(short)),
    ]
    with pytest.raises(PairingError, match="replies to other items"):
        collect(records, "fp16", FORMATS)
    found = decide(collect(records, "fp16", FORMATS, stopped_early=True), study="s", model="m")
    low, high = figures(result(found, "w8a8-int", SLOW))["tokens"][1] or (0.0, 0.0)
    assert 10 < low < 11 < high < 12
    assert result(found, "fp16", SLOW).items == ITEMS
    assert result(found, "w8a8-int", SLOW).items == 40


def test_replies_to_items_that_the_base_has_not_are_an_error_however_it_stopped(steps):
    records = [
        evaluation(steps, "fp16", SLOW, 9, replies([5.0] * 10)),
        evaluation(steps, "w8a8-int", SLOW, 9, replies([5.0] * 11)),
    ]
    with pytest.raises(PairingError):
        collect(records, "fp16", FORMATS, stopped_early=True)
