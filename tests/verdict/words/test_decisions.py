"""Every reason for a decision, every remedy, and why tasks are left out, in words."""

from typing import get_args

import pytest

from whichbits.verdict.estimates import Estimate
from whichbits.verdict.reasons import (
    BaseFailed,
    Bounded,
    DecisionReason,
    Failure,
    IsBase,
    Looked,
    NearChance,
    NotScored,
    OtherArithmetic,
    OtherWeights,
    StepsFailed,
    TaskMissing,
    TaskNearChance,
    TaskSize,
    TooFew,
    Undecidable,
)
from whichbits.verdict.verdict import Decision, Extension, SuiteRecovery
from whichbits.verdict.words.decisions import decision_reason, excluded, failure, looked, needed_to_decide

MARGIN = 0.03
BROKEN = Failure(kind="quantize", labels={"candidate": "a", "format": "w8a8-int"}, state="failed", error="disk\nfull")
AT_CHANCE = NearChance(tasks=(TaskNearChance(task="guess", above_chance=0.02),), required=0.05)
RECALL, ORDER = TaskSize(task="recall", items=2000, clusters=20), TaskSize(task="order", items=500)
KEEPS = "keeps 98.3 % (96.1 to 100.4) of the base's score above chance"
ON = ", on 2,500 items of 2 tasks"


def decision(state, reason, *, missing=(), extension=None, undecidable=None, provenance="measured", suite=True):
    recovery = Estimate(value=98.3, low=96.1, high=100.4)
    found = SuiteRecovery(
        candidate="a", engine="vllm", provenance=provenance, items=2500, tasks=("order", "recall"), recovery=recovery,
        smallest_difference=2.15, flips=0.1, noise_floor_flips=None, steps=(),
    )  # fmt: skip
    return Decision(
        candidate="a", format="w8a8-int", state=state, reason=reason, missing=missing, extension=extension,
        undecidable=undecidable, suite=found if suite else None,
    )  # fmt: skip


OPEN = Bounded(code="interval_holds_bound", bound=97)
SAID = {
    "base": (decision("base", IsBase(), suite=False), "what the others are compared with", None),
    "non_inferior": (
        decision("non-inferior", Bounded(code="non_inferior", bound=97)),
        f"{KEEPS}, all of it above the 97 % that the margin asks for{ON}",
        None,
    ),
    "inferior": (
        decision("inferior", Bounded(code="inferior", bound=97), provenance="emulated"),
        f"{KEEPS} in emulation, all of it below the 97 % that the margin asks for{ON}",
        None,
    ),
    "interval_holds_bound": (
        decision("inconclusive", OPEN, extension=Extension(tasks=("recall",), items=1234)),
        f"{KEEPS}: the interval holds the 97 % that the margin asks for{ON}",
        "about 1,300 more items of recall (80 % power, if the recovery stays at 98.3 %)",
    ),
    "too_few_clusters": (
        decision("inconclusive", TooFew(code="too_few_clusters", tasks=(RECALL,), unseen=4.56)),
        f"{KEEPS}, but 20 clusters of recall are too few to tell it from the 97 % that the margin asks for: others, not among "
        f"them, could change it by 4.6 points{ON}",
        None,
    ),
    "too_few_items": (
        decision("inconclusive", TooFew(code="too_few_items", tasks=(ORDER,), near_chance=AT_CHANCE), suite=False),
        "no task tells it from the base (guess: the base scores 2.0 points above chance, less than 5; too few items (500): the "
        "base itself could be at chance)",
        "more items of order",
    ),
    "base_near_chance": (
        decision("inconclusive", AT_CHANCE, suite=False),
        "no task tells it from the base (guess: the base scores 2.0 points above chance, less than 5)",
        "tasks on which the base beats guessing",
    ),
    "task_missing": (
        decision("inconclusive", TaskMissing(), missing=("copy", "choice")),
        f"{KEEPS}, but copy and choice are missing from its suite",
        "a result of copy and choice",
    ),
    "other_weights": (
        decision("inconclusive", OtherWeights(server="bf16")),
        f"{KEEPS}, but the server of bf16 does not serve its weights",
        "the checkpoint of bf16 at its address",
    ),
    "other_arithmetic": (
        decision("inconclusive", OtherArithmetic(server="a")),
        f"{KEEPS}, but its server computes in a finer type than the base's",
        "servers that compute in one type (--dtype)",
    ),
    "steps_failed": (
        decision("failed", StepsFailed(failure=BROKEN), suite=False),
        "quantize (candidate a, format w8a8-int): disk full",
        None,
    ),
    "base_failed": (
        decision("inconclusive", BaseFailed(failure=BROKEN), suite=False),
        "the base has no result to compare with: quantize (candidate a, format w8a8-int): disk full",
        "a run of the base",
    ),
    "not_scored": (
        decision("inconclusive", NotScored(), suite=False),
        "no task has been scored for it and the base in one engine",
        "a run of the study's tasks",
    ),
}


def codes(union):
    """Every code of a union of reasons."""
    return {code for kind in get_args(get_args(union)[0]) for code in get_args(kind.model_fields["code"].annotation)}


def test_every_code_is_said_below():
    assert set(SAID) == codes(DecisionReason)


@pytest.mark.parametrize("code", SAID)
def test_a_decision_says_why_and_what_is_needed(code):
    entry, reason, needed = SAID[code]
    assert entry.reason.code == code
    assert decision_reason(entry, MARGIN) == reason
    assert needed_to_decide(entry) == needed


def test_many_tasks_of_few_clusters_are_summed():
    sizes = tuple(TaskSize(task=f"task-{i}", items=100, clusters=5) for i in range(4))
    entry = decision("inconclusive", TooFew(code="too_few_clusters", tasks=sizes, unseen=1.0))
    assert "but 20 clusters of 4 tasks are too few" in decision_reason(entry, MARGIN)


@pytest.mark.parametrize(
    ("extension", "said"),
    [
        (Extension(tasks=("a",), items=2500, clusters=101), "about 110 more clusters (of 2,500 items) of a"),
        (Extension(tasks=("a", "b"), items=99), "about 99 more items, in proportion of a, b"),
        (
            Extension(tasks=("recall",), items=30_001, ended=(("order", 20_000),)),
            "about 31,000 more items, in proportion of recall, with all 20,000 items of order",
        ),
        (Extension(tasks=(), items=149, ended=(("order", 649),)), "about 150 more items: all 649 items of order"),
    ],
)
def test_items_are_rounded_up_to_two_digits_and_named_by_task(extension, said):
    needed = needed_to_decide(decision("inconclusive", OPEN, extension=extension))
    assert needed == f"{said} (80 % power, if the recovery stays at 98.3 %)"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            Undecidable(code="no_number_suffices", distance=0.0),
            "no number of items can tell a recovery from a bound that is 0 points away",
        ),
        (
            Undecidable(code="difference_too_small", distance=0.333, detectable=2.51, tasks=(ORDER,), others_unlimited=True),
            "order's 500 items cannot decide it, however many there are of the others: they detect 2.5 points, and the bound "
            "is 0.33 points away",
        ),
        (
            Undecidable(code="too_few_items", distance=3.0, detectable=2.0, tasks=(ORDER,)),
            "order's 500 items cannot decide it, for want of items",
        ),
        (
            Undecidable(code="too_few_clusters", distance=3.0, detectable=2.0, tasks=(ORDER, RECALL), clustered=(RECALL,)),
            "order's 500 items and recall's 2,000 items cannot decide it, for want of clusters (20 of recall)",
        ),
        (
            Undecidable(code="too_few_items", distance=3.0, detectable=2.0, tasks=(ORDER,) * 4),
            "the 2,000 items of 4 tasks cannot decide it, for want of items",
        ),
    ],
)
def test_what_no_items_can_decide_says_why(found, said):
    entry = decision("inconclusive", OPEN, undecidable=found)
    assert decision_reason(entry, MARGIN).endswith(f"{ON}; {said}")
    assert needed_to_decide(entry) is None


def test_why_a_task_is_left_out():
    assert excluded(AT_CHANCE) == "the base scores 2.0 points above chance, less than 5"
    few = TooFew(code="too_few_clusters", tasks=(RECALL,))
    assert excluded(few) == "too few clusters (20 in recall): the base itself could be at chance"


def test_a_step_without_result_is_one_line():
    missing = Failure(kind="evaluate", labels={"task": "recall"}, state="missing", error=None)
    silent = missing.model_copy(update={"state": "failed"})
    assert failure(missing) == "evaluate (task recall): has not run"
    assert failure(silent) == "evaluate (task recall): failed without a message"


LOOKED = Looked(stop="open", look=7, looks=20, items=2600, all_items=10000, chance_to_decide=0.031)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stop": "decided"}, "decided at look 7 of 20 (2,600 of 10,000 items, 74% saved)"),
        ({"stop": "decided", "look": 20, "items": 10000}, "decided at the last of 20 looks, with all 10,000 items"),
        (
            {"stop": "futile"},
            "given up at look 7 of 20 (2,600 of 10,000 items, 74% saved), since the items that there are would hardly decide "
            "it (a chance of 3.1%)",
        ),
        ({"stop": "all_items", "look": 20}, "not decided at the last of 20 looks, with all 10,000 items"),
        (
            {"stop": "not_comparable"},
            "stopped at look 7 of 20 (2,600 of 10,000 items, 74% saved), since more items would not make it comparable",
        ),
        ({}, "open at look 7 of 20 (2,600 of 10,000 items)"),
    ],
)
def test_every_stop_is_said(changes, said):
    found = LOOKED.model_copy(update=changes)
    assert looked(found) == said
    _, reason, _ = SAID["inferior"]
    stopped = SAID["inferior"][0].model_copy(update={"looked": found})
    assert decision_reason(stopped, MARGIN) == f"{reason}; {said}"


def test_many_tasks_of_which_the_base_knows_none_are_said_once() -> None:
    many = AT_CHANCE.model_copy(update={"tasks": 4 * AT_CHANCE.tasks})
    said = decision_reason(decision("inconclusive", many, suite=False), 0.03)
    assert said == "no task tells it from the base (on each of 4 tasks the base scores less than 5 points above chance)"
