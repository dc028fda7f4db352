"""Which candidate is deployed, and when none is: studies whose speeds are known to the digit."""

import json
import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from tests.verdict.judged import THREE, notes, scored, verdict
from whichbits.core.crossing import Point
from whichbits.core.errors import UserError
from whichbits.schema.deployment import Deployment
from whichbits.schema.served_weights import Agreement
from whichbits.schema.session import WeightsBehind
from whichbits.schema.workload import CapacitySearch, Limit, Slo, Workload
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.findings import CapacityRound
from whichbits.verdict.verdict import Verdict


def served(steps, name, factor, *, wobble=THREE, load=16, **more):
    """Serve steps of a candidate that takes `factor` times the base's time, a little more or less in each round."""
    return [steps.serve(name, r, {load: (factor * w, 1.0)}, spread=1e-4, **more) for r, w in enumerate(wobble)]


def test_candidates_of_different_sessions_are_compared_through_the_base(steps):
    # the machine of the second session is half as fast; a has 1.10 of the base's speed and keeps more, b has 1.60
    records = scored(steps, a=(2, 2), b=(5, 4)) + served(steps, "a", 1 / 1.1)
    records += [steps.serve("b", r, {16: (2 / 1.6 * w, 2.0)}, session="two", spread=1e-4) for r, w in enumerate(THREE)]
    (entry,) = verdict(records, "a", "b").recommendations
    assert (entry.candidate, entry.code, entry.runner_up) == ("b", "fastest", "a")
    assert entry.advantage is not None and entry.advantage.value == pytest.approx(1.6, rel=0.01)


def test_two_sessions_with_one_shared_round_are_compared_through_the_base(steps):
    records = scored(steps, a=(2, 2), b=(5, 4)) + served(steps, "a", 1 / 1.1)
    records += [steps.serve("b", r, {16: (1 / 1.6 * w, 1.0)}, session="one" if r == 0 else "two", spread=1e-4)
                for r, w in enumerate(THREE)]  # fmt: skip
    (entry,) = verdict(records, "a", "b").recommendations
    assert entry.candidate == "b"


def test_what_cannot_be_compared_with_the_base_is_not_deployed(steps):
    # the base's client was saturated in every round; the candidate is twice as slow
    records = scored(steps, a=(2, 2))
    records += [steps.serve("a", r, {1: (0.5, 1.0), 16: (4.0, 2.0)}, invalid=(("base", 16),)) for r in range(3)]
    found = verdict(records, "a")
    assert [entry.mode for entry in found.recommendations] == ["synchronous"]
    (refused,) = found.not_recommended
    assert (refused.mode, refused.code) == ("asynchronous", "base_not_valid")


@pytest.mark.parametrize("other", ["base", "candidate"])
def test_speeds_of_other_weights_are_no_comparison(steps, other: str):
    near, away = (Agreement(distance=distance, limit=0.1) for distance in (0.01, 0.5))
    weights = WeightsBehind(**{"base": near, "candidate": near, other: away})
    records = scored(steps, a=(2, 2)) + served(steps, "a", 1 / 1.5)
    records = [
        replace(r, summary=r.summary.model_copy(update={"weights": weights})) if r.kind == "serve" else r for r in records
    ]
    found = verdict(records, "a")
    assert {"base": "bf16", "candidate": "a"}[other] == next(one.candidate for one in found.served_weights if one.other)
    if other == "base":
        assert [(entry.mode, entry.code) for entry in found.not_recommended] == [("asynchronous", "base_other_weights")]
        assert not any(entry.valid for entry in (*found.speed, *found.cost))
    else:
        assert [entry.candidate for entry in found.recommendations] == ["bf16"]
        assert {entry.candidate: entry.valid for entry in found.cost} == {"bf16": True, "a": False}


def test_a_base_that_was_not_measured_is_no_comparison(steps):
    records = scored(steps, a=(2, 2)) + [steps.serve("a", r, {16: (0.5, None)}) for r in range(3)]
    found = verdict(records, "a")
    assert found.recommendations == ()
    assert [entry.code for entry in found.not_recommended] == ["base_not_measured"]


@pytest.mark.parametrize("rounds", [[("candidate", 16)], [("candidate", 16), ("base", 16)]])
def test_a_candidate_without_a_valid_round_leaves_nothing_compared(steps, rounds):
    records = scored(steps, a=(2, 2))
    records += [steps.serve("a", r, {16: (0.5, 1.0)}, invalid=(rounds[r % len(rounds)],)) for r in range(4)]
    found = verdict(records, "a")
    assert found.recommendations == ()
    assert [(entry.code, entry.candidates) for entry in found.not_recommended] == [("nothing_compared", ("a",))]


def test_a_candidate_that_was_never_served_leaves_nothing_compared(steps):
    records = scored(steps, a=(2, 2)) + [steps.serve("bf16", r, {16: (1.0, 1.0)}) for r in range(3)]
    assert [entry.code for entry in verdict(records, "a").not_recommended] == ["nothing_compared"]


def test_a_base_that_keeps_no_limit_was_compared_all_the_same(steps):
    records = scored(steps, a=(2, 2)) + served(steps, "a", 0.5)
    limits = steps.within(latency=0.8)
    (entry,) = verdict(records, "a", workloads=limits).recommendations
    assert (entry.candidate, entry.code, entry.advantage) == ("a", "base_outside_limits", None)


@pytest.mark.parametrize(
    ("target", "capacities", "answer"),
    [
        (4.0, {"bf16": 5.0, "a": 6.0, "b": 9.0}, ("a", "fastest", "yes")),
        (4.0, {"bf16": 5.0, "a": 3.0, "b": 9.0}, ("b", "fastest", "no")),
        (7.0, {"bf16": 5.0, "a": 6.0, "b": 9.0}, ("b", "base_below_target_rate", "no")),
        (6.0, {"bf16": 5.0, "a": 6.0, "b": 9.0}, ("a", "base_below_target_rate", "open")),
        (20.0, {"bf16": 5.0, "a": 6.0, "b": 9.0}, (None, "target_rate_not_reached", "no")),
    ],
)
def test_what_cannot_serve_the_target_rate_is_not_deployed(steps, target, capacities, answer):
    """`a` is the fastest with many in flight; runs within 3 % either side of a capacity tell it."""
    records = scored(steps, a=(2, 2), b=(2, 2)) + served(steps, "a", 0.5) + served(steps, "b", 0.7)
    workload = Workload(
        name="chat", prompt_tokens=128, output_tokens=32, target_rate=target, capacity=CapacitySearch(),
        slo=Slo(latency=Limit(seconds=2)),
    )  # fmt: skip
    findings = collect(records, "bf16", {name: name for name in ("bf16", "a", "b")}, workloads={"chat": workload})
    runs = tuple(
        CapacityRound(name, "chat", "here", "one", 0, f"capacity run {place}", Point(rate * (1 + off), 1 + 2 * off), ("k",))
        for name, rate in capacities.items()
        for place, off in enumerate((-0.03, -0.02, -0.01, 0.01, 0.02, 0.03))
    )
    found = decide(replace(findings, capacity_rounds=runs), study="test", model="a model", margin=0.03)
    said = [(entry.candidate, entry.code) for entry in found.recommendations]
    said += [(None, entry.code) for entry in found.not_recommended]
    assert said == [answer[:2]]
    assert next(entry.reaches for entry in found.capacity if entry.candidate == "a") == answer[2]
    json.dumps(found.model_dump(mode="json"))


def test_limits_that_one_round_does_not_tell_are_no_reason_to_deploy(steps):
    # the base misses the limit of 0.8 s, and one round cannot show that the candidate keeps it
    found = verdict(scored(steps, a=(2, 2)) + served(steps, "a", 0.5, wobble=(1.0,)), "a", workloads=steps.within(latency=0.8))
    assert found.recommendations == ()
    assert [(entry.code, entry.candidates) for entry in found.not_recommended] == [("limits_not_shown", ("a",))]


def test_a_base_that_may_keep_the_limits_is_compared(steps):
    # the interval of the base's p95 holds the limit; the candidate keeps it and is twice as fast
    records = [steps.serve("a", r, {16: (0.5 * w, 1.0 * w)}, spread=1e-4) for r, w in enumerate(THREE)]
    found = verdict(scored(steps, a=(2, 2)) + records, "a", workloads=steps.within(latency=0.995))
    (entry,) = found.recommendations
    assert (entry.candidate, entry.code) == ("a", "fastest")
    unclear = [note.candidate for cost in found.cost for note in cost.notes if note.code == "limits_not_shown"]
    assert unclear == ["bf16"]


def test_a_load_that_is_shown_to_keep_the_limits_goes_before_a_faster_one_that_may(steps):
    # at 32 the candidate gives more, and its p95 of 0.80, 0.96 and 0.64 s holds the limit of 0.9 s
    records = scored(steps, a=(2, 2))
    for r, w in enumerate((1.0, 1.2, 0.8)):
        records.append(steps.serve("a", r, {16: (0.5, 0.6), 32: (0.8 * w, 1.2)}, spread=1e-4))
    cost = next(c for c in verdict(records, "a", workloads=steps.within(latency=0.9)).cost if c.candidate == "a")
    free = next(c for c in verdict(records, "a").cost if c.candidate == "a")
    assert (cost.load_level, cost.base_load_level, free.load_level) == ("concurrency 16", "concurrency 16", "concurrency 32")


def test_limits_that_are_not_shown_to_be_kept_are_said(steps):
    # p95 of 0.90, 0.99 and 0.81 s: below 1.05 s each time, and not shown to be
    records = scored(steps, a=(2, 2)) + served(steps, "a", 0.9, wobble=(1.0, 1.1, 0.9))
    near, far = (verdict(records, "a", workloads=steps.within(latency=seconds)) for seconds in (1.05, 1.5))
    assert (notes(near, "a"), notes(far, "a")) == ({"limits_not_shown"}, set())


def test_the_fastest_of_those_that_keep_limits_the_base_does_not(steps):
    records = scored(steps, a=(2, 2), b=(5, 4)) + served(steps, "a", 0.5) + served(steps, "b", 0.4)
    limits = steps.within(latency=0.8)
    (entry,) = verdict(records, "a", "b", workloads=limits).recommendations
    assert (entry.candidate, entry.code, entry.runner_up) == ("b", "base_outside_limits", "a")


def test_one_round_claims_nothing(steps):
    found = verdict(scored(steps, a=(2, 2)) + served(steps, "a", 0.5, wobble=(1.0,)), "a")
    (entry,) = found.recommendations
    assert (entry.candidate, entry.code, entry.rounds_needed) == ("bf16", "base_one_round", None)
    cost = next(c for c in found.cost if c.candidate == "a")
    assert isinstance(cost.cost_reduction, SingleRound) and cost.cost_reduction.value == pytest.approx(2.0)
    assert (cost.rounds, notes(found, "a")) == (1, {"one_round"})
    assert not any(isinstance(s.estimate, Estimate) or isinstance(s.ratio, Estimate) for s in found.speed)
    assert Verdict.model_validate_json(found.model_dump_json()) == found


def test_nothing_is_deployed_that_is_shown_slower_than_another_non_inferior_format(steps):
    # b is told from c, a from neither; a keeps more of the score, then b, then c
    records = scored(steps, a=(1, 2), b=(3, 2), c=(6, 2))
    records += served(steps, "a", 1 / 1.25, wobble=(1.0, 1.15, 0.87))
    records += served(steps, "b", 1 / 1.20)
    records += served(steps, "c", 1 / 1.30)
    found = verdict(records, "a", "b", "c")
    (entry,) = found.recommendations
    assert (entry.candidate, entry.code) == ("c", "fastest")
    assert (entry.equals, entry.not_shown_slower) == ((), ())


def test_those_it_is_not_shown_faster_than_are_named(steps):
    records = scored(steps, a=(1, 2), b=(3, 2), c=(6, 2))
    records += served(steps, "a", 1 / 1.75, wobble=(1.0, 1.10, 0.91))
    records += served(steps, "b", 1 / 1.70)
    records += served(steps, "c", 1 / 1.90)
    (entry,) = verdict(records, "a", "b", "c").recommendations
    assert (entry.candidate, entry.code) == ("c", "fastest")
    assert (entry.equals, entry.not_shown_slower) == ((), ("a",))


def test_of_equals_the_more_accurate_but_not_of_those_that_are_merely_not_told_apart(steps):
    records = scored(steps, a=(1, 2), b=(6, 2))
    records += served(steps, "a", 1 / 1.90, wobble=(1.0, 1.04, 0.96)) + served(steps, "b", 1 / 1.92)
    (close,) = verdict(records, "a", "b").recommendations
    assert (close.candidate, close.code) == ("a", "more_accurate_of_equals")
    assert close.equals == ("b",)
    records = scored(steps, a=(1, 2), b=(6, 2))
    records += served(steps, "a", 1 / 1.75, wobble=(1.0, 1.10, 0.91)) + served(steps, "b", 1 / 1.92)
    (apart,) = verdict(records, "a", "b").recommendations
    assert (apart.candidate, apart.code) == ("b", "fastest")


def test_rounds_are_counted_pair_by_pair(steps):
    # a is valid in one round of three, b in all
    records = scored(steps, a=(2, 2), b=(5, 4)) + served(steps, "b", 0.8)
    records += [steps.serve("a", r, {16: (0.5, 1.0)}, invalid=(("candidate", 16),) if r else ()) for r in range(3)]
    found = verdict(records, "a", "b")
    assert notes(found, "a") == {"one_round", "rounds_left_out"}
    assert notes(found, "b") == set()
    assert [entry.candidate for entry in found.recommendations] == ["b"]
    (left_out,) = [e.note for e in found.caveats if e.code == "rounds" and e.note.code == "rounds_left_out"]
    assert (left_out.measured, left_out.valid) == (3, 1)


def test_two_rounds_of_five_are_said_and_may_decide(steps):
    records = scored(steps, a=(2, 2))
    records += [steps.serve("a", r, {16: (0.5 * (1 + r / 1e3), 1.0)}, invalid=(("base", 16),) if r > 1 else (), spread=1e-4)
                for r in range(5)]  # fmt: skip
    found = verdict(records, "a")
    assert notes(found, "a") == {"few_rounds", "rounds_left_out"}
    assert next(c.rounds for c in found.cost if c.candidate == "a") == 2
    assert found.recommendations[0].candidate == "a"


def test_loads_of_one_side_and_loads_of_fewer_rounds_do_not_enter(steps):
    # at 64 only the candidate was measured, at 32 the base is invalid once: 16 is what is left, ratio 1.25
    records = scored(steps, a=(2, 2))
    for r, w in enumerate(THREE):
        bad = (("base", 32),) if r == 1 else ()
        loads = {16: (0.8 * w, 1.0), 32: (0.8 * w, 2.0), 64: (0.1 * w, None)}
        records.append(steps.serve("a", r, loads, invalid=bad, spread=1e-4))
    found = verdict(records, "a")
    cost = next(c for c in found.cost if c.candidate == "a")
    assert (cost.load_level, cost.base_load_level, cost.rounds) == ("concurrency 16", "concurrency 16", 3)
    assert cost.cost_reduction is not None and cost.cost_reduction.value == pytest.approx(1.25, rel=0.01)
    assert notes(found, "a") == {"loads_left_out", "loads_not_shared"}


def test_ladders_that_differ_from_round_to_round_are_compared_where_they_agree(steps):
    # 32 in flight was reached in the lucky round only
    records = scored(steps, a=(2, 2))
    for r, w in enumerate(THREE):
        loads = {16: (1.0 * w, 1.0), **({32: (1.0, 2.0)} if r == 2 else {})}
        records.append(steps.serve("a", r, loads, spread=1e-4))
    cost = next(c for c in verdict(records, "a").cost if c.candidate == "a")
    assert (cost.load_level, cost.rounds) == ("concurrency 16", 3)
    assert cost.cost_reduction is not None and cost.cost_reduction.value == pytest.approx(1.0, rel=0.01)


def test_the_loads_of_both_are_named_where_they_differ(steps):
    records = scored(steps, a=(2, 2))
    records += [steps.serve("a", r, {16: (1.0 * w, 1.0), 32: (1.5 * w, 2.5)}, spread=1e-4) for r, w in enumerate(THREE)]
    found = verdict(records, "a")
    cost = next(c for c in found.cost if c.candidate == "a")
    assert (cost.load_level, cost.base_load_level) == ("concurrency 32", "concurrency 16")
    assert isinstance(cost.cost_reduction, Estimate)
    assert cost.cost_reduction.value == pytest.approx(32 / 1.5 / 16, rel=0.01)
    (entry,) = found.recommendations
    assert (entry.compared.load, entry.compared.base_load) == ("concurrency 32", "concurrency 16")
    assert entry.compared.ratio == cost.cost_reduction


def test_a_study_of_more_rounds_is_named_where_the_gap_is_not_told(steps):
    found = verdict(scored(steps, a=(2, 2)) + served(steps, "a", 1 / 1.1, wobble=(1.0, 1.08, 0.92)), "a")
    (entry,) = found.recommendations
    assert (entry.candidate, entry.code) == ("bf16", "base_inconclusive")
    assert entry.rounds_needed is not None and 4 <= entry.rounds_needed <= 12


def test_a_slower_format_keeps_the_base_and_asks_for_no_rounds(steps):
    (entry,) = verdict(scored(steps, a=(2, 2)) + served(steps, "a", 1.5), "a").recommendations
    assert (entry.candidate, entry.code, entry.rounds_needed) == ("bf16", "base_faster", None)


def test_a_base_without_rival_stays(steps):
    (entry,) = verdict(scored(steps, a=(300, 0)) + served(steps, "a", 0.5), "a").recommendations
    assert (entry.candidate, entry.code) == ("bf16", "base_without_rival")


def test_a_format_below_the_bound_is_not_said_to_win_if_more_items_are_scored(steps):
    records = scored(steps, a=(2, 2), low=(120, 80)) + served(steps, "a", 0.8) + served(steps, "low", 0.4)
    found = verdict(records, "a", "low")  # 96.7 %, where the bound is 97 %
    assert next(f.state for f in found.formats if f.candidate == "low") == "inconclusive"
    assert [entry.would_win_if_accepted for entry in found.recommendations] == [None]


@pytest.mark.parametrize("rate", [math.nan, math.inf, 0.0, -1.0, None])
def test_a_rate_that_is_no_number_is_invalid_and_readable_back(steps, rate):
    records = scored(steps, a=(2, 2))
    for r in range(3):
        record = steps.serve("a", r, {16: (0.5, 1.0)})
        level = record.summary.load_levels[0]
        spoiled = level.model_copy(update={"metrics": level.metrics.model_copy(update={"requests_per_second": rate})})
        records.append(replace(record, summary=record.summary.model_copy(update={"load_levels": (spoiled,)})))
    found = verdict(records, "a")
    assert found.recommendations == ()
    left_out = [reason for entry in found.caveats if entry.code == "invalid_round" for reason in entry.reasons]
    assert left_out == [f"requests_per_second is {rate}, not a finite number above 0"] * 3
    text = found.model_dump_json()
    assert Verdict.model_validate_json(text) == found
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the verdict"))


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0, -0.5])
def test_times_that_are_no_numbers_make_the_round_invalid(steps, seconds):
    records = scored(steps, a=(2, 2))
    records += [steps.serve("a", r, {16: (0.5 if r else seconds, 1.0)}) for r in range(3)]
    found = verdict(records, "a")
    assert notes(found, "a") == {"few_rounds", "rounds_left_out"}
    (entry,) = [entry for entry in found.caveats if entry.code == "invalid_round"]
    assert entry.round == 1
    assert "latency_s of 160 of 160 requests is not a finite number above 0" in entry.reasons


@pytest.mark.parametrize("price", [0, 0.0, -1.0, math.nan, math.inf])
def test_a_price_that_cannot_be_divided_by_is_refused_by_name(steps, price):
    with pytest.raises(UserError, match=r"deployment here: price_per_hour = ") as refused:
        verdict(
            scored(steps, a=(2, 2)) + served(steps, "a", 0.5),
            "a",
            deployments={"here": Deployment(hardware="h100", price_per_hour=price)},
        )
    assert refused.value.remedy


def test_the_cost_of_a_row_of_table_5(steps):
    # arXiv 2411.02355: 8B on an A6000 at 0.80 dollars an hour, INT4 9.7 s and 462 queries a dollar, BF16 24.5 s.
    records = [steps.serve("a", r, {1: (9.7, 24.5)}) for r in range(3)]
    priced, unpriced = (
        next(c for c in verdict(records, "a", deployments=deployments).cost if c.candidate == "a")
        for deployments in ({"here": Deployment(hardware="h100", price_per_hour=0.80, price_source="the paper")}, {})
    )
    assert priced.mode == "synchronous"
    assert priced.queries_per_dollar is not None and priced.queries_per_dollar.value == pytest.approx(462, rel=0.02)
    assert priced.cost_reduction is not None and priced.cost_reduction.value == pytest.approx(24.5 / 9.7, rel=0.02)
    assert unpriced.queries_per_dollar is None
    assert unpriced.cost_reduction == priced.cost_reduction


def test_a_single_round_holds_no_infinity():
    with pytest.raises(ValidationError, match="finite"):
        SingleRound(value=math.inf)
