"""The spread from start to start of a server, beside that of rounds."""

import numpy as np
import pytest

from benchmarks.server_starts import falls, halves, predicted, spread


def test_rounds_and_starts_are_told_apart():
    # means 0, 0.1 and 0.2 (variance 0.01), and in each start two rounds 0.02 apart (variance 0.0002)
    found = spread(np.array([[-0.01, 0.01], [0.09, 0.11], [0.19, 0.21]]))
    assert found.within == pytest.approx(np.sqrt(0.0002))
    assert found.between == pytest.approx(np.sqrt(0.01 - 0.0001))
    # chi-squared with 2 degrees of freedom lies below 0.1026 in 5 %
    assert found.between_at_most == pytest.approx(np.sqrt(0.01 * 2 / 0.10259 - 0.0001), rel=1e-4)


def test_starts_that_differ_by_no_more_than_their_rounds_have_no_spread_of_their_own():
    assert spread(np.array([[-0.1, 0.1], [0.1, -0.1]])).between == 0


def test_the_upper_end_lies_above_the_true_spread_in_95_percent():
    rng = np.random.default_rng(0)
    starts, rounds, between, within = 6, 3, 0.05, 0.02
    above = [
        spread(rng.normal(0, between, (starts, 1)) + rng.normal(0, within, (starts, rounds))).between_at_most > between
        for _ in range(2000)
    ]
    assert 0.93 < np.mean(above) < 0.97


def test_a_second_run_is_predicted_within_the_square_root_of_two_times_the_interval():
    # starts 0, 0.1, 0.2: mean 0.1, standard error 0.1 / √3, and t of 2 degrees of freedom at 95.5 %
    low, high = predicted(np.array([[0.0], [0.1], [0.2]]))
    half = np.sqrt(2) * 4.5534 * 0.1 / np.sqrt(3)
    assert (np.log(high) - np.log(low)) / 2 == pytest.approx(half, rel=1e-3)
    assert (np.log(high) + np.log(low)) / 2 == pytest.approx(0.1)


def test_a_second_run_falls_into_the_prediction_in_95_percent():
    rng = np.random.default_rng(0)
    runs = rng.normal(0, 0.05, (4000, 2, 3, 1)) + rng.normal(0, 0.02, (4000, 2, 3, 2))
    assert 0.94 < np.mean([falls(first, second) for first, second in runs]) < 0.965


def test_six_starts_have_twenty_pairs_of_halves():
    pairs = list(halves(np.arange(6.0)[:, None]))
    assert len(pairs) == 20
    assert all(sorted(np.concatenate(pair)[:, 0]) == list(range(6)) for pair in pairs)
