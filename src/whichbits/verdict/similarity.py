"""Similarity findings: means over prompts, and per-token means over windows of text."""

from __future__ import annotations

import math

from whichbits.verdict.estimates import Estimate
from whichbits.verdict.findings import SimilaritySample
from whichbits.verdict.resampling import ratio_of_sums
from whichbits.verdict.verdict import SimilarityFinding


def similarity_finding(sample: SimilaritySample, *, level: float, seed: int) -> SimilarityFinding:
    """One measure with its interval over prompts or windows."""
    estimate = ratio_of_sums(sample.numerator, sample.denominator, level=level, seed=seed)
    if sample.exponential:
        estimate = Estimate(
            value=math.exp(estimate.value), low=math.exp(estimate.low), high=math.exp(estimate.high), level=level
        )
    return SimilarityFinding(
        candidate=sample.candidate,
        engine=sample.engine,
        provenance=sample.provenance,
        data=sample.data,
        measure=sample.measure,
        items=len(sample.numerator),
        estimate=estimate,
        steps=sample.steps,
    )
