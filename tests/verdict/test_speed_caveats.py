"""What is said of speeds: rounds that are left out, kernels that are unknown, limits that nothing keeps."""

from dataclasses import replace

import pytest

from tests.verdict.judged import BASE, caveats, non_inferior_pair, speeds, verdict, with_flips
from whichbits.schema.server_abilities import AS_TEXT, BY_MIN_TOKENS, ServerAbilities
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect


def test_the_kernels_at_an_address_of_the_users_are_unknown_and_said_to_be(steps):
    records = [steps.evaluate("bf16", BASE, engine="url"), steps.evaluate("w8a8-int", with_flips(5, 5), engine="url")]
    found = verdict([*records, *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5)], "w8a8-int")
    assert {entry.candidate for entry in found.recommendations} == {"w8a8-int"}
    assert [entry.candidates for entry in caveats(found, "kernels_unknown")] == [("bf16", "w8a8-int")]


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


@pytest.mark.parametrize(
    ("starts", "rounds", "said"),
    [
        ((1.0, 1.0, 1.0), 3, [("chat",)]),
        ((1.0, 1.0, 2.0), 3, []),
        ((None, None, None), 3, []),
        ((1.0, None, 1.0), 3, []),
        ((1.0,), 1, []),
    ],
)
def test_rounds_that_are_all_of_one_start_of_the_servers_are_said_to_be(steps, starts, rounds, said):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5, rounds=rounds)]
    findings = collect(records, "bf16", {name: name for name in ("bf16", "w8a8-int")}, base_bytes=1000)
    told = tuple(replace(r, server_started=starts[r.repeat]) for r in findings.rounds)
    found = decide(replace(findings, rounds=told), study="test", model="a model", margin=0.03)
    assert [entry.workloads for entry in caveats(found, "one_start")] == said


def test_what_a_server_cannot_do_is_said_once_of_all_that_lack_it(steps):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5, rounds=2)]
    findings = collect(records, "bf16", {name: name for name in ("bf16", "w8a8-int")}, base_bytes=1000)

    def said(**lacking: ServerAbilities) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        told = tuple(replace(r, abilities=lacking.get(r.candidate.split("-")[0])) for r in findings.rounds)
        found = decide(replace(findings, rounds=told), study="test", model="a model", margin=0.03)
        return [(tuple(sorted(entry.candidates)), entry.instead) for entry in caveats(found, "measured_otherwise")]

    texts = ServerAbilities(token_ids=False)
    assert said() == said(bf16=ServerAbilities(), w8a8=ServerAbilities()) == []
    assert said(bf16=texts, w8a8=texts) == [(("bf16", "w8a8-int"), (AS_TEXT,))]
    both = texts.model_copy(update={"length_by": "min_tokens"})
    assert said(bf16=ServerAbilities(), w8a8=both) == [(("w8a8-int",), (AS_TEXT, BY_MIN_TOKENS))]


def test_without_a_valid_round_there_is_an_invalid_figure_and_no_recommendation(steps):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5, valid=False)]
    found = verdict(records, "w8a8-int")
    assert found.recommendations == ()
    assert found.cost == ()
    own = [s for s in found.speed if s.candidate == "w8a8-int"]
    assert own
    assert not any(s.valid for s in own)
    assert all(s.ratio is None for s in own)


def test_limits_that_nothing_keeps_are_said(steps):
    records = [*non_inferior_pair(steps), *speeds(steps, "w8a8-int", synchronous=0.5, loaded=0.5)]
    limits = steps.within(latency=0.001)
    found = verdict(records, "w8a8-int", workloads=limits)
    assert found.recommendations == ()
    (entry,) = caveats(found, "limits_not_kept")
    assert [(limit.metric, limit.percentile, limit.seconds) for limit in entry.limits] == [("latency", 95.0, 0.001)]
