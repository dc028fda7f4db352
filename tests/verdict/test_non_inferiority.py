"""Which formats are non-inferior, which are inferior, and what leaves one inconclusive."""

import numpy as np
import pytest

from tests.verdict.judged import BASE, decision, verdict, with_flips


def test_non_inferior(steps):
    found = verdict([steps.evaluate("bf16", BASE), steps.evaluate("w8a8-int", with_flips(5, 5))], "w8a8-int")
    entry = decision(found, "w8a8-int")
    assert entry.state == "non-inferior"
    assert entry.suite is not None
    assert entry.suite.recovery.value == 100
    assert entry.suite.recovery.low >= 97
    assert entry.suite.flips == 0.005
    assert (entry.reason.code, entry.reason.bound) == ("non_inferior", 97)
    assert (found.recommendations, found.not_recommended) == ((), ())


def test_inferior(steps):
    found = verdict([steps.evaluate("bf16", BASE), steps.evaluate("w4a16-int", with_flips(200, 20))], "w4a16-int")
    entry = decision(found, "w4a16-int")
    assert entry.state == "inferior"
    assert entry.suite is not None
    assert entry.suite.recovery.value == pytest.approx(100 * (1200 - 180) / 1200)
    assert (entry.reason.code, entry.reason.bound) == ("inferior", 97)
    assert (entry.extension, entry.undecidable) == (None, None)


def test_inconclusive_says_what_is_needed_to_decide(steps):
    found = verdict([steps.evaluate("bf16", BASE), steps.evaluate("w4a16-int", with_flips(110, 90))], "w4a16-int")
    entry = decision(found, "w4a16-int")
    assert entry.state == "inconclusive"
    assert (entry.reason.code, entry.undecidable) == ("interval_holds_bound", None)
    assert entry.extension.tasks == ("recall",)
    assert entry.extension.items > 1000


def test_a_fixed_task_cannot_be_extended(steps):
    records = [steps.evaluate(name, scores, kind="lm-eval") for name, scores in
               (("bf16", BASE), ("w4a16-int", with_flips(110, 90)))]  # fmt: skip
    entry = decision(verdict(records, "w4a16-int"), "w4a16-int")
    assert entry.extension is None
    assert (entry.undecidable.code, entry.undecidable.others_unlimited) == ("difference_too_small", False)
    assert [(size.task, size.items) for size in entry.undecidable.tasks] == [("recall", 2000)]
    assert entry.undecidable.detectable > entry.undecidable.distance == pytest.approx(100 * (1 - 20 / 1200) - 97)


def test_failed(steps):
    broken = steps.record("quantize", {"candidate": "w4a8-int", "format": "w4a8-int"}, state="failed", error="out of memory")
    found = verdict([steps.evaluate("bf16", BASE), broken], "w4a8-int")
    entry = decision(found, "w4a8-int")
    assert (entry.state, entry.reason.code, entry.reason.failure.error) == ("failed", "steps_failed", "out of memory")
    assert found.failures == (entry.reason.failure,)


def test_a_failed_base_leaves_nothing_to_compare_with(steps):
    labels = {"candidate": "bf16", "task": "recall", "engine": "vllm", "repeat": "0"}
    broken = steps.record("evaluate", labels, state="failed", error="the server died")
    found = verdict([broken, steps.evaluate("w8a8-int", BASE)], "w8a8-int")
    entry = decision(found, "w8a8-int")
    assert (entry.state, entry.reason.code, entry.reason.failure.error) == ("inconclusive", "base_failed", "the server died")


def test_a_task_that_is_missing_leaves_the_format_inconclusive(steps):
    labels = {"candidate": "w8a8-int", "task": "copy", "engine": "vllm", "repeat": "0"}
    records = [
        steps.evaluate("bf16", BASE),
        steps.evaluate("bf16", BASE, task="copy"),
        steps.evaluate("w8a8-int", with_flips(2, 2)),
        steps.record("evaluate", labels, state="failed", error="crash"),
    ]
    entry = decision(verdict(records, "w8a8-int"), "w8a8-int")
    assert (entry.state, entry.reason.code, entry.missing) == ("inconclusive", "task_missing", ("copy",))


def test_nothing_measured(steps):
    found = verdict([], "w8a8-int")
    assert (decision(found, "w8a8-int").state, decision(found, "w8a8-int").reason.code) == ("inconclusive", "not_scored")


def clustered(clusters, scores):
    return [f"document {i * clusters // len(scores)}" for i in range(len(scores))]


@pytest.mark.parametrize("clusters", [1, 10, 20, 50])
def test_few_clusters_carry_no_claim_and_ask_for_more(steps, clusters):
    """A template that fails in one document of twenty may have failed in none of these."""
    names = clustered(clusters, BASE)
    records = [
        steps.evaluate(name, scores, clusters=names) for name, scores in (("bf16", BASE), ("w8a8-int", with_flips(5, 5)))
    ]
    entry = decision(verdict(records, "w8a8-int"), "w8a8-int")
    assert (entry.state, entry.reason.code) == ("inconclusive", "too_few_clusters")
    assert entry.suite.unseen_loss == pytest.approx(100 * (1 - 0.025 ** (1 / clusters)), rel=0.7)
    assert entry.extension.clusters > 50


def test_many_clusters_carry_the_claim(steps):
    names = clustered(400, BASE)
    records = [
        steps.evaluate(name, scores, clusters=names) for name, scores in (("bf16", BASE), ("w8a8-int", with_flips(5, 5)))
    ]
    entry = decision(verdict(records, "w8a8-int"), "w8a8-int")
    assert (entry.state, entry.reason.code) == ("non-inferior", "non_inferior")


def test_two_clusters_are_too_few_clusters_and_not_too_few_items(steps):
    names = clustered(2, BASE)
    base = np.sort(BASE)
    records = [steps.evaluate(name, base, clusters=names) for name in ("bf16", "w8a8-int")]
    found = verdict(records, "w8a8-int")
    assert [task.excluded.code for task in found.tasks] == ["too_few_clusters"]
    entry = decision(found, "w8a8-int")
    assert (entry.state, entry.reason.code) == ("inconclusive", "too_few_clusters")
    assert [(size.task, size.clusters) for size in entry.reason.tasks] == [("recall", 2)]


def test_few_items_are_too_few_items(steps):
    found = verdict([steps.evaluate("bf16", [1, 0]), steps.evaluate("w8a8-int", [1, 0])], "w8a8-int")
    assert [task.excluded.code for task in found.tasks] == ["too_few_items"]
    assert decision(found, "w8a8-int").reason.code == "too_few_items"


def test_a_task_without_any_record_of_the_candidate_is_a_gap(steps):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("bf16", BASE, task="copy"), steps.evaluate("w8a8-int", BASE)]
    records += [steps.evaluate("w4a16-int", BASE), steps.evaluate("w4a16-int", BASE, task="copy")]
    entry = decision(verdict(records, "w8a8-int", "w4a16-int"), "w8a8-int")
    assert (entry.state, entry.reason.code, entry.missing) == ("inconclusive", "task_missing", ("copy",))


def test_a_task_without_any_record_of_the_base_is_a_gap(steps):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("w8a8-int", BASE), steps.evaluate("w8a8-int", BASE, task="copy")]
    entry = decision(verdict(records, "w8a8-int"), "w8a8-int")
    assert (entry.reason.code, entry.missing) == ("task_missing", ("copy",))


def test_a_task_of_the_base_that_no_candidate_has_is_a_gap(steps):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("bf16", BASE, task="copy"), steps.evaluate("w8a8-int", BASE)]
    entry = decision(verdict(records, "w8a8-int"), "w8a8-int")
    assert (entry.reason.code, entry.missing) == ("task_missing", ("copy",))


def served_and_emulated(steps, served, emulated):
    for engine, scores in (("vllm", served), ("emulated", emulated)):
        yield steps.evaluate("bf16", BASE, engine=engine)
        yield steps.evaluate("bf16", BASE, engine=engine, task="copy")
        yield steps.evaluate("w8a8-int", scores, engine=engine)
    labels = {"candidate": "w8a8-int", "task": "copy", "engine": "vllm", "repeat": "0"}
    yield steps.record("evaluate", labels, state="failed", error="crash")
    yield steps.evaluate("w8a8-int", emulated, engine="emulated", task="copy")


def test_what_was_served_is_not_overruled_by_its_emulation(steps):
    found = verdict(list(served_and_emulated(steps, with_flips(600, 0), BASE)), "w8a8-int")
    entry = decision(found, "w8a8-int")
    assert (entry.state, entry.reason.code) == ("inconclusive", "task_missing")
    assert entry.suite.provenance == "measured"
    assert entry.suite.recovery.value == 50


def test_what_was_served_at_chance_is_not_overruled_either(steps):
    records = [
        steps.evaluate("bf16", BASE, chance=0.58),
        steps.evaluate("w8a8-int", with_flips(300, 0), chance=0.58),
        steps.evaluate("bf16", BASE, engine="emulated"),
        steps.evaluate("w8a8-int", BASE, engine="emulated"),
    ]
    entry = decision(verdict(records, "w8a8-int"), "w8a8-int")
    assert (entry.state, entry.reason.code, entry.suite) == ("inconclusive", "base_near_chance", None)
