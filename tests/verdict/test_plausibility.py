from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whichbits.verdict.assemble import decide
from whichbits.verdict.findings import Findings, ScoredTask
from whichbits.verdict.paired import Paired
from whichbits.verdict.verdict import ServedWeights


def findings(format: str, kept: float, items: int = 1000) -> Findings:
    """A study of one candidate that keeps a share of the base's right answers."""
    base = np.ones(items)
    score = np.where(np.arange(items) < kept * items, 1.0, 0.0)
    scored = ScoredTask("candidate", "recall", "vllm", "measured", items, Paired(base, score), ("a", "b"))
    return Findings(base="bf16", formats={"bf16": "bf16", "candidate": format}, tasks=(scored,))


@pytest.mark.parametrize(
    ("format", "kept", "floor"),
    [
        ("bf16", 0.97, None), ("bf16", 0.9, 95.0),
        ("w8a8-int", 0.85, None), ("w8a8-int", 0.7, 80.0), ("w8a8-fp+kv-fp8", 0.7, 80.0),
        ("w4a16-int", 0.6, None), ("w4a16-int", 0.4, 50.0),
        ("a format of somebody's", 0.1, None),
    ],
)  # fmt: skip
def test_a_loss_larger_than_the_bits_explain_is_named(format: str, kept: float, floor: float | None):
    verdict = decide(findings(format, kept), study="s", model="m")
    assert [loss.floor for loss in verdict.implausible] == ([] if floor is None else [floor])
    assert tuple(caveat for caveat in verdict.caveats if caveat.code == "implausible_loss") == verdict.implausible


def test_an_interval_that_reaches_the_floor_is_no_sign_of_damage():
    assert decide(findings("w8a8-int", 0.79, items=100), study="s", model="m").implausible == ()


@pytest.mark.parametrize("whose", ["bf16", "candidate"])
def test_nothing_is_decided_on_a_server_of_other_weights(whose: str):
    served = (ServedWeights(candidate=whose, distance=0.4, limit=0.1),)
    verdict = decide(replace(findings("w8a8-int", 1.0), served_weights=served), study="s", model="m")
    assert [(decision.state, decision.reason.code) for decision in verdict.formats if decision.state != "base"] == [
        ("inconclusive", "other_weights")
    ]
    assert [(caveat.candidate, caveat.distance) for caveat in verdict.caveats if caveat.code == "other_weights"] == [
        (whose, 0.4)
    ]


def arithmetic(candidate: str, from_float32: float) -> ServedWeights:
    return ServedWeights(candidate=candidate, distance=0.07, limit=0.22, from_float32=from_float32, rounding=0.07)


@pytest.mark.parametrize(
    ("base", "candidate", "state", "said"),
    [
        (0.07, 0.07, "non-inferior", []),
        (0.07, 0.007, "inconclusive", [("candidate", "finer")]),
        (0.007, 0.007, "non-inferior", [("bf16", "finer"), ("candidate", "finer")]),
        (0.007, 0.07, "non-inferior", [("bf16", "finer")]),
        (0.07, 0.14, "non-inferior", [("candidate", "coarser")]),
    ],
)
def test_a_server_of_another_type_is_named(base: float, candidate: float, state: str, said: list[tuple[str, str]]):
    served = (arithmetic("bf16", base), arithmetic("candidate", candidate))
    verdict = decide(replace(findings("w8a8-int", 1.0), served_weights=served), study="s", model="m")
    assert [decision.state for decision in verdict.formats if decision.candidate == "candidate"] == [state]
    assert [(one.candidate, one.differs) for one in verdict.caveats if one.code == "other_arithmetic"] == said
