"""What judges said of answers, next to the decisions that it does not enter."""

from __future__ import annotations

from tests.verdict.judged import verdict

RATE = {"rate": 0.48, "low": 0.44, "high": 0.52}


def judged(**more):
    return {
        "judge": "referee", "rounds": 2, "win_rate": RATE, "win_rate_at_equal_style": {**RATE, "high": 0.51},
        "swayed_by_order": 0.25, "changed_when_repeated": 0.1, "without_label": 1, "requests": 16, "prompt_tokens": 1600,
        "generated_tokens": 160, "dollars": 0.5, **more,
    }  # fmt: skip


def compared(steps, candidate, *, engine="vllm", **more):
    labels = {"candidate": candidate, "task": "arena", "engine": engine, "repeat": "0"}
    summary = {"task": "arena", "n": 4, "score": 0.375, "judged": judged(identical=1, requests=12)} | more
    return steps.record("judge", labels, summary)


def test_both_comparisons_stand_next_to_each_other_and_the_decision_is_of_the_paired_scores_alone(steps):
    scores = {"bf16": [0.5, 0.25, 1, 0.5], "w8a8-int": [0.5, 0.5, 1, 0.25]}
    records = [steps.evaluate(name, each, task="arena", judged=judged()) for name, each in scores.items()]
    without = verdict(records, "w8a8-int")
    step = compared(steps, "w8a8-int")
    found = verdict([*records, step], "w8a8-int")
    assert [(one.candidate, one.against, one.score) for one in found.judged] == [
        ("bf16", "baseline", 0.5625), ("w8a8-int", "baseline", 0.5625), ("w8a8-int", "base", 0.375)
    ]  # fmt: skip
    direct = found.judged[-1]
    assert direct.win_rate is not None
    assert (direct.win_rate.value, direct.win_rate.low, direct.win_rate.high, direct.win_rate.level) == (0.48, 0.44, 0.52, 0.95)
    assert (direct.items, direct.identical, direct.requests, direct.dollars) == (4, 1, 12, 0.5)
    assert (direct.swayed_by_order, direct.changed_when_repeated, direct.without_label) == (0.25, 0.1, 1)
    assert (direct.provenance, direct.steps) == ("measured", (step.key,))
    assert (found.formats, found.tasks, found.suites) == (without.formats, without.tasks, without.suites)


def test_a_comparison_that_failed_leaves_the_decision_as_it_is(steps):
    records = [steps.evaluate(name, [0.5, 1, 0, 1], task="arena", judged=judged()) for name in ("bf16", "w8a8-int")]
    labels = {"candidate": "w8a8-int", "task": "arena", "engine": "vllm", "repeat": "0"}
    failed = steps.record("judge", labels, state="failed", error="the judge is gone")
    found = verdict([*records, failed], "w8a8-int")
    assert [one.against for one in found.judged] == ["baseline", "baseline"]
    assert [(one.kind, one.error) for one in found.failures] == [("judge", "the judge is gone")]
    assert found.formats == verdict(records, "w8a8-int").formats


def test_a_judge_without_any_label_says_nothing(steps):
    told = judged(win_rate=None, win_rate_at_equal_style=None, swayed_by_order=None, changed_when_repeated=None)
    found = verdict([compared(steps, "w8a8-int", judged=told)], "w8a8-int")
    assert (found.judged[0].win_rate, found.judged[0].swayed_by_order) == (None, None)
