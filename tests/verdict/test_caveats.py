"""What is said of tasks, noise and the family of claims."""

import numpy as np
import pytest

from tests.verdict.judged import BASE, N, caveats, decision, verdict, with_flips


def test_a_task_at_chance_is_left_out_and_one_that_says_little_is_flagged(steps):
    high = np.ones(N)
    records = []
    for name, scores in (("bf16", BASE), ("w8a8-int", with_flips(3, 3))):
        records += [steps.evaluate(name, scores), steps.evaluate(name, scores, task="guess", chance=0.58)]
        records.append(steps.evaluate(name, high, task="easy", uninformative="no room to differ"))
    found = verdict(records, "w8a8-int")
    assert found.suites[0].tasks == ("easy", "recall")
    left_out = next(t for t in found.tasks if t.task == "guess")
    assert left_out.recovery is None
    assert left_out.excluded.code == "base_near_chance"
    assert [(t.task, t.above_chance) for t in left_out.excluded.tasks] == [("guess", pytest.approx(0.02))]
    assert [(entry.task, entry.why) for entry in caveats(found, "task_excluded")] == [("guess", left_out.excluded)]
    assert [(entry.task, entry.reason) for entry in caveats(found, "task_insensitive")] == [("easy", "no room to differ")]


def test_scores_that_equal_the_base_exactly_are_suspicious(steps):
    found = verdict([steps.evaluate("bf16", BASE), steps.evaluate("w8a8-int", BASE)], "w8a8-int")
    assert [(entry.candidate, entry.items) for entry in caveats(found, "identical_scores")] == [("w8a8-int", N)]
    assert decision(found, "w8a8-int").suite.recovery.low < 100  # type: ignore[union-attr]


def test_the_noise_floor_is_the_bases_own_flips(steps):
    records = [
        steps.evaluate("bf16", BASE),
        steps.evaluate("bf16", with_flips(20, 20), repeat=1),
        steps.evaluate("w8a8-int", with_flips(5, 5)),
    ]
    found = verdict(records, "w8a8-int")
    assert found.suites[0].noise_floor_flips == 0.02
    (noise,) = caveats(found, "within_noise")
    assert (noise.candidate, noise.flips, noise.noise_floor_flips, noise.whole_suite) == ("w8a8-int", 0.005, 0.02, True)


def test_claims_that_fall_for_the_whole_family_are_said(steps):
    # 21 formats: each claim alone is near the edge, so Holm's first step asks for 1/21 of its level
    names = [f"format-{i}" for i in range(21)]
    records = [
        steps.evaluate("bf16", BASE),
        *(steps.evaluate(name, with_flips(60 + i, 52 + i)) for i, name in enumerate(names)),
    ]
    found = verdict(records, *names, margin=0.026)
    non_inferior = [entry.candidate for entry in found.formats if entry.state == "non-inferior"]
    assert non_inferior
    (entry,) = caveats(found, "family_wise")
    assert entry.family == 21
    assert non_inferior[-1] in entry.candidates


def test_the_noise_floor_is_compared_on_the_tasks_that_were_run_twice(steps):
    records = [
        steps.evaluate("bf16", BASE),
        steps.evaluate("bf16", with_flips(20, 20), repeat=1),
        steps.evaluate("w8a8-int", with_flips(30, 30)),
        steps.evaluate("bf16", BASE, task="copy"),
        steps.evaluate("w8a8-int", BASE, task="copy"),
    ]
    found = verdict(records, "w8a8-int")
    assert found.suites[0].flips == 0.015
    assert (found.suites[0].noise_floor_flips, found.suites[0].flips_on_noise_floor_tasks) == (0.02, 0.03)
    assert caveats(found, "within_noise") == []
    records[2] = steps.evaluate("w8a8-int", with_flips(10, 10))
    found = verdict(records, "w8a8-int")
    assert [(entry.tasks, entry.whole_suite) for entry in caveats(found, "within_noise")] == [(("recall",), False)]
