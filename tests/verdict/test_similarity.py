import math

import numpy as np
import pytest

from whichbits.verdict.findings import SimilaritySample
from whichbits.verdict.similarity import similarity_finding


def sample(numerator, denominator, *, exponential=False):
    return SimilaritySample(
        "w8a8-int", "vllm", "measured", "ours", "rouge1", np.array(numerator), np.array(denominator), exponential, ("key",)
    )


def test_a_mean_over_prompts():
    found = similarity_finding(sample([0.5, 0.7, 0.9], [1.0, 1.0, 1.0]), level=0.95, seed=0)
    assert found.estimate.value == pytest.approx(0.7)
    assert found.estimate.low < 0.5 < 0.9 < found.estimate.high  # three prompts say little
    assert (found.items, found.data, found.steps) == (3, "ours", ("key",))


def test_perplexity_is_the_exponential_of_the_mean_per_token():
    found = similarity_finding(sample([20.0, 90.0], [10.0, 30.0], exponential=True), level=0.95, seed=0)
    assert found.estimate.value == pytest.approx(math.exp(110 / 40))
    assert 0 < found.estimate.low < found.estimate.value < found.estimate.high
