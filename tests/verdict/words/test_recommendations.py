"""Why a candidate, the base or nothing is recommended, and what its speeds lack, in words."""

from typing import get_args

import pytest

from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.reasons import (
    AgainstBase,
    KernelNotNative,
    KernelNotProbed,
    OneRound,
    OtherWeights,
    RoundInvalid,
    SpeedReason,
)
from whichbits.verdict.verdict import NoRecommendation, Recommendation, RecommendationCode, RefusalCode
from whichbits.verdict.words.recommendations import no_recommendation_reason, recommendation_reason, speed_reason

RATIO = Estimate(value=1.21, low=1.1, high=1.33)
GIVES = "a gives 1.21 times (1.10 to 1.33) bf16's queries per dollar"
MANY = "concurrency 16"


def entry(code, *, candidate="bf16", load=MANY, ratio=RATIO, base_load=MANY, **more):
    compared = None if code == "base_without_rival" else AgainstBase(candidate="a", ratio=ratio, load=load, base_load=base_load)
    return Recommendation(
        workload="chat", deployment="here", mode="asynchronous", candidate=candidate, code=code, load=load, compared=compared,
        advantage=None, **more,
    )  # fmt: skip


ALONE = entry("fastest", candidate="a", load="synchronous", base_load="synchronous")
SAID = [
    (ALONE, f"{GIVES} and is shown non-inferior"),
    (
        entry("fastest", candidate="a", base_load="concurrency 8", not_shown_slower=("b", "c")),
        f"{GIVES} at concurrency 16 (the base at concurrency 8) and is shown non-inferior; that it is faster than b and c is "
        "not shown",
    ),
    (
        entry("more_accurate_of_equals", candidate="a", equals=("b",)),
        f"{GIVES} at concurrency 16 and is shown non-inferior; its speed cannot be told from that of b, and it keeps more of "
        "the base's score",
    ),
    (
        entry("base_below_target_rate", candidate="a"),
        "bf16 cannot serve the target rate; a may, and is shown non-inferior",
    ),
    (
        entry("base_outside_limits", candidate="a"),
        "bf16 keeps the limits at no load; a does at concurrency 16 and is shown non-inferior",
    ),
    (entry("base_inconclusive"), f"{GIVES} at concurrency 16, so the comparison is inconclusive"),
    (
        entry("base_inconclusive", rounds_needed=7),
        f"{GIVES} at concurrency 16, so the comparison is inconclusive; a study of 7 rounds would tell (80 % power, if gap and "
        "spread stay)",
    ),
    (entry("base_faster"), f"{GIVES} at concurrency 16, and no non-inferior format is faster"),
    (
        entry("base_one_round", ratio=SingleRound(value=2.0)),
        "a gives 2.00 times (one round, so without an interval) bf16's queries per dollar at concurrency 16, so nothing can be "
        "claimed of it; measure three rounds or more",
    ),
    (
        entry("base_without_rival"),
        "no other format is both shown non-inferior and validly measured on a native kernel",
    ),
]


@pytest.mark.parametrize(("found", "said"), SAID)
def test_a_recommendation_says_why(found, said):
    assert recommendation_reason(found, "bf16") == said


def test_every_code_of_a_recommendation_is_said_above():
    assert {found.code for found, _ in SAID} == set(get_args(RecommendationCode))


REFUSED = {
    "base_not_measured": "bf16 was not measured, so there is nothing to compare with",
    "base_not_valid": "no round of bf16 is valid, so there is nothing to compare with",
    "base_other_weights": "the server of bf16 does not serve its weights, so there is nothing to compare with",
    "nothing_compared": "no load of a and b is valid in a round in which one of bf16 is",
    "limits_not_kept": "bf16 keeps the limits at no load, and neither does a format that is shown non-inferior",
    "target_rate_not_reached": "bf16 cannot serve the target rate, and neither can a format that is shown non-inferior",
    "limits_not_shown": "which loads of bf16 and of a and b keep the limits is not told",
}


@pytest.mark.parametrize("code", get_args(RefusalCode))
def test_what_is_not_recommended_says_why(code):
    found = NoRecommendation(workload="chat", deployment="here", mode="synchronous", code=code, candidates=("a", "b"))
    assert no_recommendation_reason(found, "bf16") == REFUSED[code]


SPEEDS = [
    (RoundInvalid(round=2, reason="client saturated"), "round 2: client saturated"),
    (RoundInvalid(round=2, reason=None), "round 2: not valid"),
    (OneRound(), "one round only: nothing says how much another would differ, so there is no interval"),
    (OtherWeights(server="a"), "the server of a does not serve its weights"),
    (KernelNotProbed(), "no probe says which kernel served it"),
    (KernelNotNative(status="reference", kernel="Marlin"), "served on a reference path (Marlin), not on a native kernel"),
    (KernelNotNative(status="refused", kernel=None), "served on a refused path, not on a native kernel"),
]


@pytest.mark.parametrize(("found", "said"), SPEEDS)
def test_a_speed_says_what_it_lacks(found, said):
    assert speed_reason(found) == said


def test_every_kind_of_speed_reason_is_said_above():
    assert {type(found) for found, _ in SPEEDS} == set(get_args(get_args(SpeedReason)[0]))
