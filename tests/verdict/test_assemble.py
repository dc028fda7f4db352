import numpy as np
import pytest

from whichbits.schema.deployment import Deployment
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.verdict import Verdict

N = 2000
BASE = np.array([1, 1, 1, 0, 0] * (N // 5), dtype=float)  # 60 % right


def with_flips(lost, gained):
    """The base's scores with some right answers lost and some wrong ones gained."""
    scores = BASE.copy()
    scores[np.flatnonzero(BASE == 1)[:lost]] = 0
    scores[np.flatnonzero(BASE == 0)[:gained]] = 1
    return scores


def verdict(records, *candidates, margin=0.03, **more):
    formats = {name: name for name in ("bf16", *candidates)}
    findings = collect(records, "bf16", formats, base_bytes=1000, **more)
    return decide(findings, study="test", model="a model", margin=margin)


def caveats(found, code):
    """The caveats of a kind."""
    return [entry for entry in found.caveats if entry.code == code]


def decision(found, candidate):
    return next(entry for entry in found.formats if entry.candidate == candidate)


def speeds(steps, candidate, *, synchronous, loaded, rounds=3, **more):
    """Serve steps of a candidate that takes `synchronous` and `loaded` times the base's latency alone and at 16."""
    wobble = (1.0, 1.01, 0.99)
    return [
        steps.serve(candidate, r, {1: (synchronous * wobble[r], 1.0), 16: (2 * loaded * wobble[r], 2.0)}, **more)
        for r in range(rounds)
    ]


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


def non_inferior_pair(steps, *, int8=(5, 5), int4=(5, 5)):
    return [
        steps.evaluate("bf16", BASE),
        steps.evaluate("w8a8-int", with_flips(*int8)),
        steps.evaluate("w4a16-int", with_flips(*int4)),
        *(steps.probe(name) for name in ("bf16", "w8a8-int", "w4a16-int")),
    ]


def test_recommends_the_cheapest_non_inferior_by_mode(steps):
    records = [
        *non_inferior_pair(steps),
        *speeds(steps, "w8a8-int", synchronous=0.9, loaded=0.6),
        *speeds(steps, "w4a16-int", synchronous=0.5, loaded=1.2),
    ]
    found = verdict(
        records,
        "w8a8-int",
        "w4a16-int",
        deployments={"here": Deployment(hardware="h100", price_per_hour=2.0, price_source="a list")},
    )
    alone, loaded = found.recommendations
    assert (alone.mode, alone.candidate, alone.runner_up) == ("synchronous", "w4a16-int", "w8a8-int")
    assert (loaded.mode, loaded.candidate, loaded.runner_up) == ("asynchronous", "w8a8-int", "bf16")
    assert alone.advantage is not None
    assert alone.advantage.value == pytest.approx(2.0, rel=0.03)
    assert loaded.advantage is not None
    assert loaded.advantage.low < 1 / 0.6 < loaded.advantage.high
    cost = next(c for c in found.cost if (c.candidate, c.mode) == ("w8a8-int", "asynchronous"))
    assert cost.queries_per_dollar is not None
    assert cost.queries_per_dollar.value == pytest.approx(16 / 1.2 * 3600 / 2.0, rel=0.01)
    assert [(row.mode, row.best) for row in found.guideline] == [("synchronous", "w4a16-int"), ("asynchronous", "w8a8-int")]


def test_a_gain_that_is_inconclusive_keeps_the_base(steps):
    records = [
        *non_inferior_pair(steps),
        *(steps.serve("w8a8-int", r, {16: (mean, 2.0)}) for r, mean in enumerate((1.6, 2.2, 1.8))),
    ]
    found = verdict(records, "w8a8-int")
    (entry,) = found.recommendations
    assert (entry.candidate, entry.runner_up) == ("bf16", "w8a8-int")
    assert (entry.code, entry.compared.candidate) == ("base_inconclusive", "w8a8-int")
    assert entry.compared.ratio.value == pytest.approx(1.08, rel=0.01)
    assert entry.compared.ratio.low < 1 < entry.compared.ratio.high


def test_the_more_accurate_of_two_that_are_equally_fast(steps):
    records = [
        *non_inferior_pair(steps, int8=(5, 5), int4=(9, 4)),
        *speeds(steps, "w8a8-int", synchronous=0.61, loaded=0.6),
        *speeds(steps, "w4a16-int", synchronous=0.6, loaded=0.6, seed=1),
    ]
    found = verdict(records, "w8a8-int", "w4a16-int")
    entry = found.recommendations[0]
    assert (entry.candidate, entry.code, entry.equals) == ("w8a8-int", "more_accurate_of_equals", ("w4a16-int",))


def test_an_inconclusive_format_is_named_as_what_would_win(steps):
    records = [
        *non_inferior_pair(steps, int4=(110, 90)),
        *speeds(steps, "w8a8-int", synchronous=0.8, loaded=0.8),
        *speeds(steps, "w4a16-int", synchronous=0.4, loaded=0.4),
    ]
    found = verdict(records, "w8a8-int", "w4a16-int")
    assert {entry.candidate for entry in found.recommendations} == {"w8a8-int"}
    for entry in found.recommendations:
        assert entry.would_win_if_accepted.candidate == "w4a16-int"
        assert entry.would_win_if_accepted.ratio.value == pytest.approx(2.0, rel=0.03)
    assert decision(found, "w4a16-int").extension.tasks == ("recall",)


@pytest.mark.parametrize("status", ["reference", "refused", None])
def test_the_speed_of_a_path_that_is_not_native_never_enters(steps, status):
    records = [steps.evaluate("bf16", BASE), steps.evaluate("w8a8-int", with_flips(5, 5)), steps.probe("bf16")]
    records += [steps.probe("w8a8-int", status)] if status else []
    records += speeds(steps, "w8a8-int", synchronous=0.1, loaded=0.1)
    found = verdict(records, "w8a8-int")
    assert {entry.candidate for entry in found.recommendations} == {"bf16"}
    own = [s for s in found.speed if s.candidate == "w8a8-int"]
    assert own
    assert not any(s.valid for s in own)
    assert all(s.reasons for s in own)


def test_the_kernels_at_an_address_of_the_users_are_unknown_and_said_to_be(steps):
    records = [steps.evaluate("bf16", BASE, engine="url"), steps.evaluate("w8a8-int", with_flips(5, 5), engine="url")]
    found = verdict([*records, *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5)], "w8a8-int")
    assert {entry.candidate for entry in found.recommendations} == {"w8a8-int"}
    assert [entry.candidates for entry in caveats(found, "kernels_unknown")] == [("bf16", "w8a8-int")]


def test_the_bases_own_step_adds_nothing_to_what_the_others_hold(steps):
    # one session: the base is measured once a round, its own step and every candidate's hold that measurement
    own = [steps.serve("bf16", r, {1: (1.0, 1.0)}) for r in range(3)]
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.8, loaded=0.8)]
    with_own, without = verdict([*records, *own], "w8a8-int"), verdict(records, "w8a8-int")
    assert [r.candidate for r in with_own.recommendations] == [r.candidate for r in without.recommendations]
    assert with_own.recommendations[0].advantage == without.recommendations[0].advantage


def test_invalid_rounds_are_shown_and_left_out(steps):
    records = [
        *non_inferior_pair(steps),
        *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5, rounds=2),
        steps.serve("w8a8-int", 2, {1: (50.0, 1.0), 16: (50.0, 2.0)}, valid=False),
    ]
    found = verdict(records, "w8a8-int")
    alone = next(s for s in found.speed if (s.candidate, s.load_level, s.metric) == ("w8a8-int", "synchronous", "latency_s"))
    assert alone.estimate.value == pytest.approx(0.5, rel=0.03)
    assert [(why.code, why.round, why.reason) for why in alone.reasons] == [("round_invalid", 3, "client saturated")]
    left_out = caveats(found, "invalid_round")
    assert ("w8a8-int", "chat", "synchronous", 3, ("client saturated",)) in [
        (entry.candidate, entry.workload, entry.load, entry.round, entry.reasons) for entry in left_out
    ]


def test_a_round_far_from_all_others_is_said_to_be(steps):
    """One of four that is half as fast; without it they lie within 3 %, and then none is."""
    even = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5, rounds=3)]
    assert caveats(verdict(even, "w8a8-int"), "outlying_round") == []
    slow = [*even, steps.serve("w8a8-int", 3, {1: (1.0, 1.0), 16: (1.0, 1.0)})]
    found = caveats(verdict(slow, "w8a8-int"), "outlying_round")
    assert {(entry.candidate, entry.load, entry.round) for entry in found} >= {("w8a8-int", "synchronous", 4)}
    assert next(entry.ratio for entry in found if entry.load == "synchronous") == pytest.approx(0.5, rel=0.1)


def test_without_a_valid_round_there_is_an_invalid_figure_and_no_recommendation(steps):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5, valid=False)]
    found = verdict(records, "w8a8-int")
    assert found.recommendations == ()
    assert found.cost == ()
    own = [s for s in found.speed if s.candidate == "w8a8-int"]
    assert own
    assert not any(s.valid for s in own)
    assert all(s.ratio is None for s in own)


def test_an_slo_limits_the_load(steps):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5)]
    limits = steps.within(latency=1.2)
    found = verdict(records, "w8a8-int", workloads=limits)
    loaded = next(entry for entry in found.recommendations if entry.mode == "asynchronous")
    assert loaded.candidate == "w8a8-int"
    assert (loaded.code, loaded.advantage) == ("base_outside_limits", None)


def test_limits_that_nothing_keeps_are_said(steps):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5)]
    limits = steps.within(latency=0.001)
    found = verdict(records, "w8a8-int", workloads=limits)
    assert found.recommendations == ()
    (entry,) = caveats(found, "limits_not_kept")
    assert [(limit.metric, limit.percentile, limit.seconds) for limit in entry.limits] == [("latency", 95.0, 0.001)]


def test_emulated_accuracy_is_decided_on_but_not_recommended(steps):
    records = [
        steps.evaluate("bf16", BASE, engine="emulated"),
        steps.evaluate("w8a8-fp", with_flips(5, 5), engine="emulated"),
        steps.probe("w8a8-fp"),
        *speeds(steps, "w8a8-fp", synchronous=0.5, loaded=0.5),
    ]
    found = verdict(records, "w8a8-fp")
    assert decision(found, "w8a8-fp").state == "non-inferior"
    assert decision(found, "w8a8-fp").suite.provenance == "emulated"
    assert {entry.candidate for entry in found.recommendations} == {"bf16"}
    assert [entry.candidates for entry in caveats(found, "emulated_accuracy")] == [("w8a8-fp",)]


def test_the_emulations_own_error_is_emulated_minus_served(steps):
    records = []
    for name, served, emulated in (("bf16", BASE, BASE), ("w8a8-int", with_flips(5, 5), with_flips(25, 5))):
        records += [steps.evaluate(name, served), steps.evaluate(name, emulated, engine="emulated")]
    found = verdict(records, "w8a8-int")
    error = next(e for e in found.emulation if e.candidate == "w8a8-int")
    assert error.difference.value == pytest.approx(-20 / N)
    assert error.disagreements == 20 / N
    assert [s.engine for s in found.suites] == ["vllm", "emulated"]
    assert decision(found, "w8a8-int").suite == found.suites[0]


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


def test_sizes_are_relative_to_the_base(steps):
    summary = {"bytes": 260, "bits_per_weight": 4.25, "seconds": 1.0, "manifest": {}}
    labels = {"candidate": "w4a16-int", "format": "w4a16-int"}
    found = verdict([steps.record("quantize", labels, summary)], "w4a16-int")
    assert [(s.candidate, s.ratio, s.bits_per_weight) for s in found.sizes] == [("bf16", 1.0, None), ("w4a16-int", 0.26, 4.25)]


def test_same_findings_same_verdict_and_it_survives_the_file(steps):
    records = [*non_inferior_pair(steps, int4=(110, 90)), *speeds(steps, "w8a8-int", synchronous=0.8, loaded=0.8)]
    first, again = (verdict(records, "w8a8-int", "w4a16-int") for _ in range(2))
    assert first == again
    assert Verdict.model_validate_json(first.model_dump_json()) == first


def test_nothing_measured(steps):
    found = verdict([], "w8a8-int")
    assert (decision(found, "w8a8-int").state, decision(found, "w8a8-int").reason.code) == ("inconclusive", "not_scored")


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_outside_its_range_is_refused(steps, margin):
    with pytest.raises(ValueError, match="margin is"):
        verdict([], margin=margin)


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


def test_what_would_win_does_not_ask_for_items_that_there_are_not(steps):
    records = [steps.evaluate(name, scores, kind="lm-eval") for name, scores in
               (("bf16", BASE), ("w8a8-int", with_flips(5, 5)), ("w4a16-int", with_flips(110, 90)))]  # fmt: skip
    records += [steps.probe(name) for name in ("bf16", "w8a8-int", "w4a16-int")]
    records += [
        *speeds(steps, "w8a8-int", synchronous=0.8, loaded=0.8),
        *speeds(steps, "w4a16-int", synchronous=0.4, loaded=0.4),
    ]
    found = verdict(records, "w8a8-int", "w4a16-int")
    assert decision(found, "w4a16-int").extension is None
    assert {entry.would_win_if_accepted.candidate for entry in found.recommendations} == {"w4a16-int"}


def test_what_lies_below_the_bound_would_not_win(steps):
    records = [
        *non_inferior_pair(steps, int4=(130, 85)),
        *speeds(steps, "w8a8-int", synchronous=0.8, loaded=0.8),
        *speeds(steps, "w4a16-int", synchronous=0.4, loaded=0.4),
    ]
    found = verdict(records, "w8a8-int", "w4a16-int")
    entry = decision(found, "w4a16-int")
    assert entry.state == "inconclusive"
    assert entry.suite.recovery.value < 97
    assert {answer.would_win_if_accepted for answer in found.recommendations} == {None}
