from whichbits.verdict.estimates import Estimate
from whichbits.verdict.guideline import guideline
from whichbits.verdict.verdict import Recommendation


def entry(workload, mode, candidate, runner_up=None, advantage=None):
    return Recommendation(
        workload=workload, deployment="here", mode=mode, candidate=candidate, code="fastest", load=mode,
        advantage=advantage, runner_up=runner_up,
    )  # fmt: skip


def test_workloads_with_the_same_answer_share_a_row():
    gain = Estimate(value=1.5, low=1.25, high=1.75)
    rows = guideline(
        [
            entry("rag", "asynchronous", "w8a8-int", "bf16", gain),
            entry("chat", "synchronous", "w4a16-int", "w8a8-int"),
            entry("chat", "asynchronous", "w8a8-int", "w4a16-int", gain),
        ]
    )
    assert [(row.mode, row.best, row.workloads, row.next) for row in rows] == [
        ("synchronous", "w4a16-int", ("chat",), "w8a8-int"),
        ("asynchronous", "w8a8-int", ("rag", "chat"), None),
    ]
