"""What is recommended where studies have speeds: the fastest of those that are accepted."""

import math

import numpy as np
import pytest

from tests.verdict.judged import BASE, THREE, caveats, decision, non_inferior_pair, notes, scored, speeds, verdict, with_flips
from whichbits.schema.deployment import Deployment
from whichbits.schema.workload import Limit, Slo, Workload
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.verdict import Verdict


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


def test_the_bases_own_step_adds_nothing_to_what_the_others_hold(steps):
    # one session: the base is measured once a round, its own step and every candidate's hold that measurement
    own = [steps.serve("bf16", r, {1: (1.0, 1.0)}) for r in range(3)]
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.8, loaded=0.8)]
    with_own, without = verdict([*records, *own], "w8a8-int"), verdict(records, "w8a8-int")
    assert [r.candidate for r in with_own.recommendations] == [r.candidate for r in without.recommendations]
    assert with_own.recommendations[0].advantage == without.recommendations[0].advantage


def test_an_slo_limits_the_load(steps):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5)]
    limits = steps.within(latency=1.2)
    found = verdict(records, "w8a8-int", workloads=limits)
    loaded = next(entry for entry in found.recommendations if entry.mode == "asynchronous")
    assert loaded.candidate == "w8a8-int"
    assert (loaded.code, loaded.advantage) == ("base_outside_limits", None)


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


def test_starts_of_the_servers_count_once_where_there_are_three(steps):
    # three rounds of one start in which the ratio is 1.25, and two of a start each in which it is 1.1 and 1.4
    ratios = {0: (1.24, "one"), 1: (1.25, "one"), 2: (1.26, "one"), 3: (1.1, "two"), 4: (1.4, "three")}

    def found(last: int) -> Verdict:
        records = scored(steps, a=(2, 2))
        records += [steps.serve("a", r, {16: (1 / ratios[r][0], 1.0)}, session=ratios[r][1], spread=1e-4) for r in range(last)]
        return verdict(records, "a")

    one, two, three = found(3), found(4), found(5)
    assert notes(one, "a") == set()
    spreads = [next(note for cost in each.cost for note in cost.notes if note.code == "server_starts") for each in (two, three)]
    assert [(note.rounds, note.starts, note.counted) for note in spreads] == [(4, 2, "rounds"), (5, 3, "starts")]
    means = np.log([1.25, 1.1, 1.4])
    assert spreads[1].between == pytest.approx(means.std(ddof=1), rel=0.01)
    assert spreads[1].within == pytest.approx(np.log([1.24, 1.25, 1.26]).std(ddof=1), rel=0.01)
    (cost,) = [cost for cost in three.cost if cost.candidate == "a"]
    assert isinstance(cost.cost_reduction, Estimate)
    assert math.log(cost.cost_reduction.value) == pytest.approx(means.mean(), abs=1e-3)
    assert cost.cost_reduction.low < 0.92 < 1.68 < cost.cost_reduction.high, "three observations, not five"
    assert [e.note.starts for e in three.caveats if e.code == "rounds"] == [3]


def test_contending_are_the_loads_that_may_be_the_best_of_either(steps):
    # latencies of candidate and base: 4 is the worse for both, 16 the best of the candidate, 64 nearly of the base
    records = scored(steps, a=(2, 2))
    rows = [{4: (0.5, 0.5 * w), 16: (0.8 * w, 1.0), 64: (5.0, 4.0 + 4 * (w - 1))} for w in (*THREE, 1.005)]
    records += [steps.serve("a", r, latency, spread=1e-4) for r, latency in enumerate(rows)]
    (cost,) = [cost for cost in verdict(records, "a").cost if cost.candidate == "a"]
    assert cost.contending == (16, 64)
    slow = {"chat": Workload(name="chat", prompt_tokens=8, output_tokens=8, slo=Slo(latency=Limit(seconds=3, percentile=50)))}
    (cost,) = [cost for cost in verdict(records, "a", workloads=slow).cost if cost.candidate == "a"]
    assert cost.contending == (16,), "64 is shown to miss the limit"
