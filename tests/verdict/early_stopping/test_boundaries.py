import math

import numpy as np
import pytest

from whichbits.verdict.early_stopping.boundaries import boundaries
from whichbits.verdict.early_stopping.spending import obrien_fleming_like

# Two-sided 5 % (one-sided 2.5 %), spending like O'Brien and Fleming's, equal steps: Lan and DeMets (1983), R package gsDesign.
PUBLISHED = {
    2: (2.963, 1.969),
    5: (4.877, 3.357, 2.680, 2.290, 2.031),
    10: (6.991, 4.877, 3.930, 3.367, 2.989, 2.715, 2.504, 2.336, 2.198, 2.081),
}


@pytest.mark.parametrize("looks", PUBLISHED)
def test_are_the_published_ones(looks):
    shares = [look / looks for look in range(1, looks)] + [1.0]
    assert boundaries(shares, 0.025, obrien_fleming_like) == pytest.approx(PUBLISHED[looks], abs=6e-4)


def test_one_look_is_the_plain_test():
    assert boundaries([1.0], 0.025, obrien_fleming_like) == pytest.approx((1.959964,), abs=1e-5)


def test_unequal_steps_spend_the_error_and_no_more():
    shares = np.array([0.17, 0.2, 0.45, 0.8, 0.803, 1.0])
    critical = boundaries(shares.tolist(), 0.025, obrien_fleming_like)
    steps = np.sqrt(np.diff(shares, prepend=0))
    statistics = np.cumsum(np.random.default_rng(0).normal(size=(200_000, 6)) * steps, axis=1) / np.sqrt(shares)
    assert np.mean((statistics >= critical).any(axis=1)) == pytest.approx(0.025, abs=0.0011)


def test_nothing_to_spend_is_no_boundary():
    assert boundaries([0.01, 1.0], 0.025, obrien_fleming_like)[0] == math.inf


@pytest.mark.parametrize("shares", [[], [0.0, 1.0], [0.5, 1.1], [0.5, 0.5, 1.0], [0.6, 0.5]])
def test_other_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares of information"):
        boundaries(shares, 0.025, obrien_fleming_like)
