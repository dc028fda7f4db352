from __future__ import annotations

from whichbits.serving.distribution import distribution, percentile


def test_p99_is_refused_under_459_samples():
    assert percentile(list(range(458)), 99) is None
    assert percentile(list(range(459)), 99) is not None


def test_distribution_by_hand():
    found = distribution([3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0])
    assert found is not None
    assert (found.n, found.mean) == (7, 4.0)
    assert found.percentiles["50"] is not None
    assert found.percentiles["50"].value == 4.0
    assert found.percentiles["90"] is None
    assert distribution([]) is None
