import numpy as np
import pytest

from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.verdict.assemble import decide
from whichbits.verdict.collect import collect
from whichbits.verdict.early_stopping.looked import Looking
from whichbits.verdict.early_stopping.methods import method_of
from whichbits.verdict.early_stopping.schedule import looks
from whichbits.verdict.pairing import PairingError

N = 2000
RNG = np.random.default_rng(0)
BASE = (RNG.random(N) < 0.6).astype(float)
LOOKS = looks({"recall": N}, 10)
PLAN = EarlyStoppingPlan(method="group-sequential", futility=0.05, looks=LOOKS, most={"recall": N})


def losing(share, items):
    """The base's scores of the first items with a share of the right answers lost."""
    scores = BASE[:items].copy()
    right = np.flatnonzero(scores == 1)
    scores[right[: round(share * len(right))]] = 0
    return scores


def judged(steps, reached, scores, margin=0.03):
    names = {"bf16": "bf16", **{name: name for name in scores}}
    records = [steps.evaluate("bf16", BASE), *(steps.evaluate(name, found) for name, found in scores.items())]
    plan = PLAN.model_copy(update={"reached": reached})
    findings = collect(records, "bf16", names, base_bytes=1, stopped_early=True)
    return decide(findings, study="test", model="a model", margin=margin, early_stopping=plan)


def test_a_candidate_stops_at_its_look(steps):
    counts = [look.items for look in LOOKS]
    scores = {"bad": losing(0.2, counts[1]), "as good": losing(0.0, counts[3]), "open": losing(0.02, counts[3])}
    found = judged(steps, {"bad": 2, "as good": 4, "open": 4}, scores)
    by_name = {entry.candidate: entry for entry in found.formats}
    assert by_name["bf16"].looked is None
    assert [(by_name[n].state, by_name[n].looked.stop, by_name[n].looked.look) for n in scores] == [
        ("inferior", "decided", 2),
        ("non-inferior", "decided", 4),
        ("inconclusive", "open", 4),
    ]
    assert (by_name["bad"].looked.items, by_name["bad"].looked.all_items, by_name["bad"].looked.looks) == (
        counts[1],
        N,
        len(LOOKS),
    )
    assert by_name["bad"].suite.items == counts[1]
    (caveat,) = (entry for entry in found.caveats if entry.code == "stopped_early")
    assert (caveat.items, caveat.all_items) == (counts[1] + 3 * counts[3], 4 * N)


def test_the_interval_is_that_of_the_look(steps):
    scores = {"a": losing(0.05, LOOKS[2].items)}
    early = judged(steps, {"a": 3}, scores).suites[0].recovery
    last = judged(steps, {"a": len(LOOKS)}, scores).suites[0].recovery
    method = method_of(PLAN, level=0.95)
    assert early.level == last.level == 0.95
    assert early.high - early.low > 1.2 * (last.high - last.low)
    assert method.level(3) > method.level(len(LOOKS)) > 0.95


@pytest.mark.parametrize(("look", "stop"), [(4, "open"), (7, "futile"), (len(LOOKS), "all_items")])
def test_what_all_items_would_not_decide_is_given_up(steps, look, stop):
    found = judged(steps, {"a": look}, {"a": losing(0.03, LOOKS[look - 1].items)})
    looked = found.formats[1].looked
    assert (found.formats[1].state, looked.stop) == ("inconclusive", stop)
    assert (looked.chance_to_decide < 0.05) == (stop != "open")


def test_the_interval_is_wider_where_the_large_task_changes_most(steps):
    """Of two tasks the same items are seen; the information of the look is less where the longer one varies."""
    most = {"short": 200, "long": N}
    plan = looks(most, 10)
    look = next(number for number, one in enumerate(plan, start=1) if one.count >= 400)
    few, many = losing(0.01, plan[look - 1].count), losing(0.2, plan[look - 1].count)
    levels = []
    for short, long in ((few, many), (many, few)):
        scores = {"short": short[: most["short"]], "long": long}
        records = [steps.evaluate("bf16", BASE[: most[task]], task=task) for task in most]
        records += [steps.evaluate("a", found, task=task) for task, found in scores.items()]
        findings = collect(records, "bf16", {"bf16": "bf16", "a": "a"}, base_bytes=1, stopped_early=True)
        stopping = EarlyStoppingPlan(method="group-sequential", futility=0.05, looks=plan, most=most, reached={"a": look})
        levels.append(Looking(stopping, findings.tasks, level=0.95).levels()["a"])
    planned = method_of(stopping, level=0.95).level(look)
    assert levels[0] > planned > levels[1] > 0.95


def test_without_a_look_there_is_none(steps):
    found = judged(steps, {}, {"a": losing(0.0, LOOKS[4].items)})
    assert [entry.looked for entry in found.formats] == [None] * 2


def test_more_items_than_the_base_are_refused(steps):
    records = [steps.evaluate("bf16", BASE[:100]), steps.evaluate("a", BASE)]
    with pytest.raises(PairingError, match="in one run but not in the other"):
        collect(records, "bf16", {"bf16": "bf16", "a": "a"}, base_bytes=1, stopped_early=True)
