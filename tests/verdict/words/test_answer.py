"""The sentence and the reasons of a whole verdict."""

from whichbits.verdict.estimates import Estimate
from whichbits.verdict.guideline import guideline
from whichbits.verdict.reasons import AgainstBase, Bounded, IsBase, NotScored, WouldWin
from whichbits.verdict.verdict import Decision, Extension, NoRecommendation, Recommendation, SuiteRecovery, Verdict
from whichbits.verdict.words.answer import reasons, sentence
from whichbits.verdict.words.recommendations import evidence

CODES = {"non-inferior": "non_inferior", "inferior": "inferior", "inconclusive": "interval_holds_bound"}


def decision(name, state, provenance="measured", extension=None):
    if state is None:
        return Decision(candidate=name, format=name, state="inconclusive", reason=NotScored())
    suite = SuiteRecovery(
        candidate=name, engine="vllm", provenance=provenance, items=1000, tasks=("recall",), smallest_difference=1, flips=0.1,
        recovery=Estimate(value=99.5, low=98.5, high=100.5), noise_floor_flips=None, steps=(),
    )  # fmt: skip
    reason = Bounded(code=CODES[state], bound=98)
    return Decision(candidate=name, format=name, state=state, reason=reason, suite=suite, extension=extension)


def chosen(candidate, code, *, workload="chat", deployment="here", ratio=1.5, **more):
    estimate = Estimate(value=ratio, low=ratio - 0.1, high=ratio + 0.1)
    other = "a" if candidate == "bf16" else candidate
    return Recommendation(
        workload=workload, deployment=deployment, mode="asynchronous", candidate=candidate, code=code, load="concurrency 16",
        compared=AgainstBase(candidate=other, ratio=estimate, load="concurrency 16", base_load="concurrency 16"),
        advantage=None if candidate == "bf16" else estimate, **more,
    )  # fmt: skip


def verdict(*decisions, recommended=(), refused=()):
    return Verdict(
        study="s", model="m", base="bf16", margin=0.02, caveats=(), recommendations=recommended, not_recommended=refused,
        formats=(Decision(candidate="bf16", format="bf16", state="base", reason=IsBase()), *decisions), tasks=(), suites=(),
        emulation=(), similarity=(), speed=(), cost=(), sizes=(),
    )  # fmt: skip


REFUSED = NoRecommendation(workload="rag", deployment="here", mode="synchronous", code="base_not_measured")


def test_one_for_all_uses():
    found = verdict(decision("a", "non-inferior"), recommended=(chosen("a", "fastest"),))
    assert sentence(found) == (
        "Deploy a: it keeps 99.5 % (98.5 to 100.5) of bf16's score above chance and gives 1.50 times (1.40 to 1.60) the "
        "queries per dollar."
    )


def test_uses_are_named_where_one_is_open():
    found = verdict(decision("a", "non-inferior"), recommended=(chosen("a", "fastest"),), refused=(REFUSED,))
    assert sentence(found).startswith("Deploy a for chat with many requests at once: it keeps")
    assert sentence(found).endswith("For rag with one request at a time nothing is recommended, for lack of a comparison.")


def test_staying_gives_its_reason_where_there_is_one():
    answers = (chosen("bf16", "base_faster"), chosen("bf16", "base_faster", deployment="there"))
    reason = (
        "a gives 1.50 times (1.40 to 1.60) bf16's queries per dollar at concurrency 16, and no non-inferior format is faster."
    )
    both = verdict(decision("a", "non-inferior"), recommended=answers)
    assert sentence(both) == f"Stay with bf16: {reason}"
    one_open = verdict(decision("a", "non-inferior"), recommended=answers, refused=(REFUSED,))
    where = "chat on here with many requests at once and chat on there with many requests at once"
    assert sentence(one_open) == f"Stay with bf16 for {where}: {reason}"


def test_different_reasons_are_left_to_the_list():
    answers = (chosen("bf16", "base_faster"), chosen("bf16", "base_inconclusive", workload="rag"))
    assert sentence(verdict(decision("a", "non-inferior"), recommended=answers)) == (
        "Stay with bf16: for no use is another format shown both non-inferior and faster."
    )


def test_without_speed():
    assert sentence(verdict(decision("a", None))) == "No verdict: no format could be compared with bf16 on any task."
    assert sentence(verdict(decision("a", "inferior"))) == (
        "Stay with bf16: no format is shown to keep 98 % of its score above chance."
    )
    assert sentence(verdict(decision("a", "non-inferior", "emulated"), decision("b", "non-inferior"))) == (
        "a (in emulation) and b are shown to keep 98 % of bf16's score above chance, but no valid speed (within its workload's "
        "limits, where it has any) was measured: nothing says what it saves."
    )
    assert "but bf16 was not measured, so there is nothing to compare with: nothing says what it saves." in sentence(
        verdict(decision("a", "non-inferior"), refused=(REFUSED,))
    )


def test_reasons_are_the_recommendations_what_would_overturn_them_and_every_decision():
    gain = Estimate(value=2.0, low=1.9, high=2.1)
    more = Extension(tasks=("recall",), items=900)
    found = verdict(
        decision("a", "non-inferior"),
        decision("b", "inconclusive", extension=more),
        recommended=(chosen("a", "fastest", would_win_if_accepted=WouldWin(candidate="b", ratio=gain)),),
        refused=(REFUSED,),
    )
    needed = "about 900 more items of recall (80 % power, if the recovery stays at 99.5 %)"
    kept = "keeps 99.5 % (98.5 to 100.5) of the base's score above chance"
    assert reasons(found) == (
        "chat with many requests at once: a gives 1.50 times (1.40 to 1.60) bf16's queries per dollar at concurrency 16 and is "
        "shown non-inferior.",
        "rag with one request at a time: nothing is recommended: bf16 was not measured, so there is nothing to compare with.",
        "b would win, with 2.00 times (1.90 to 2.10) a's queries per dollar, if shown non-inferior; that takes " + needed + ".",
        f"a is non-inferior: {kept}, all of it above the 98 % that the margin asks for, on 1,000 items of 1 task.",
        f"b is inconclusive: {kept}: the interval holds the 98 % that the margin asks for, on 1,000 items of 1 task; needed to "
        f"decide: {needed}.",
    )


def test_the_evidence_of_a_guideline_is_that_of_its_workloads():
    answers = (
        chosen("a", "fastest"),
        chosen("a", "fastest", workload="rag", ratio=1.3),
        chosen("bf16", "base_faster", workload="x"),
    )
    found = verdict(decision("a", "non-inferior"), recommended=answers)
    rows = guideline(answers)
    assert evidence(rows[0], found) == (
        "chat: 1.50 times (1.40 to 1.60) the base's queries per dollar; "
        "rag: 1.30 times (1.20 to 1.40) the base's queries per dollar"
    )
    assert evidence(rows[1], found).startswith("x: a gives 1.50 times")
