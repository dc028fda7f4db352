"""Lengths of answers that end by themselves, beside the base's."""

from __future__ import annotations

import numpy as np
import pytest

from whichbits.schema.serve import NaturalLoad
from whichbits.verdict.estimates import Estimate
from whichbits.verdict.findings import Findings, Kernel, NaturalRound
from whichbits.verdict.natural_output import natural_findings
from whichbits.verdict.phases import NaturalFinding


def load(tokens: list[int | None], rate: float, *reasons: str, truncated: float = 0.0) -> NaturalLoad:
    return NaturalLoad(
        concurrency=8, valid=not reasons, reasons=reasons, requests_per_second=rate, tokens=tuple(tokens), truncated=truncated
    )


def found(*pairs: tuple[NaturalLoad, NaturalLoad], kernel: str = "native") -> list[NaturalFinding]:
    rounds = tuple(
        NaturalRound("w8a8-int", "chat", "here", "one", repeat, own, base, ("ab" * 32,))
        for repeat, (own, base) in enumerate(pairs)
    )
    kernels = {"w8a8-int": Kernel(kernel, None, None)}
    findings = Findings(base="bf16", formats={"w8a8-int": "w8a8-int"}, natural_rounds=rounds, kernels=kernels)
    return list(natural_findings(findings, level=0.95, seed=0))


def test_answers_are_paired_by_prompt_and_averaged_over_rounds() -> None:
    """Each of 200 answers is 1.2 times as long as the base's, whatever its own length: the interval is narrow."""
    base = np.random.default_rng(0).integers(20, 2000, 200)
    own = [round(1.2 * int(tokens)) for tokens in base]
    (one,) = found(
        (load([*own, 500], 4.0, truncated=0.1), load([*base.tolist(), None], 5.0)),
        (load([*own, 500], 4.4, truncated=0.3), load([*base.tolist(), 7], 5.5)),
    )
    assert one.prompts == 200, "a prompt that failed in a round is left out"
    assert one.length_ratio.value == pytest.approx(1.2, abs=1e-3)
    assert one.length_ratio.high - one.length_ratio.low < 0.002
    assert (one.tokens, one.base_tokens) == pytest.approx((np.mean(own), np.mean(base)))
    assert (one.truncated, one.base_truncated) == pytest.approx((0.2, 0.0))
    assert isinstance(one.speed, Estimate) and one.speed.value == pytest.approx(0.8)
    assert (one.valid, one.rounds, one.reasons) == (True, 2, ())


def test_rounds_that_are_not_valid_are_left_out() -> None:
    good = (load([10, 20], 2.0), load([10, 20], 1.0))
    bad = (load([90, 90], 9.0, "errors: one"), load([10, 20], 1.0))
    (one,) = found(good, bad)
    assert (one.length_ratio.value, one.rounds, one.valid) == (1.0, 1, True)
    assert [reason.code for reason in one.reasons] == ["round_invalid"]
    (none,) = found(bad)
    assert not none.valid and none.speed is None
    (reference,) = found(good, kernel="reference")
    assert not reference.valid
