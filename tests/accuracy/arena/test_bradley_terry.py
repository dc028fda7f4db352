"""The Bradley-Terry fit against scikit-learn's and scipy's, and what style control does."""

from __future__ import annotations

import numpy as np
import pytest

from whichbits.accuracy.arena.bradley_terry import fit, win_rate
from whichbits.accuracy.arena.style import Style, difference, style_of


def judgments(
    count: int, strength: float, of_length: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Judgments of `count` questions, four each, of answers that are longer than the baseline's on average."""
    random = np.random.default_rng(seed)
    question = np.repeat(np.arange(count), 4)
    style = np.repeat(random.normal([0.3, 0, 0, 0], [0.2, 0.1, 0.1, 0.1], (count, 4)), 4, axis=0)
    p = 1 / (1 + np.exp(-(strength + of_length * style[:, 0])))
    drawn = random.random(len(p))
    scores = np.where(drawn < 0.1, 0.5, (random.random(len(p)) < p).astype(float))
    return question, scores, random.choice([1.0, 3.0], len(p)), style


def test_the_fit_is_scikit_learns() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    _, scores, weights, style = judgments(300, 0.4, 2.0, 1)
    ours = fit(np.column_stack([np.ones(len(scores)), style]), scores, weights)
    # A tie is half a win and half a loss.
    twice, labels = np.vstack([style, style]), np.repeat([1, 0], len(scores))
    theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    theirs.fit(twice, labels, sample_weight=np.concatenate([weights * scores, weights * (1 - scores)]))
    assert ours == pytest.approx(np.concatenate([theirs.intercept_, theirs.coef_[0]]), abs=1e-4)


def test_the_fit_is_the_maximum_of_the_likelihood() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    _, scores, weights, style = judgments(100, -0.5, 1.0, 2)
    features = np.column_stack([np.ones(len(scores)), style])

    def loss(found: np.ndarray) -> float:
        logit = features @ found
        return float(weights @ (np.logaddexp(0, logit) - scores * logit))

    theirs = optimize.minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8})
    assert fit(features, scores, weights) == pytest.approx(theirs.x, abs=1e-4)


def test_without_style_it_is_the_mean_by_weight() -> None:
    question, scores, weights, _ = judgments(120, 0.4, 0, 3)
    found = win_rate(question, scores, weights, seed=0)
    assert found.rate == pytest.approx(np.average(scores, weights=weights))
    intercept = fit(np.ones((len(scores), 1)), scores, weights)[0]
    assert found.rate == pytest.approx(1 / (1 + np.exp(-intercept)), abs=1e-6)
    assert found.low < found.rate < found.high
    assert win_rate(question, scores, weights, seed=0) == found


def test_style_control_takes_away_what_length_gained() -> None:
    question, scores, weights, style = judgments(2000, 0.0, 4.0, 4)
    plain = win_rate(question[:800], scores[:800], weights[:800], seed=0)
    assert plain.low > 0.55
    intercept = fit(np.column_stack([np.ones(len(scores)), style]), scores, weights)[0]
    assert 1 / (1 + np.exp(-intercept)) == pytest.approx(0.5, abs=0.04)


def test_intervals_resample_questions() -> None:
    """Four judgments that agree say as much as one: the interval is that of the questions' means."""
    random = np.random.default_rng(5)
    each = (random.random(400) < 0.6).astype(float)
    found = win_rate(np.repeat(np.arange(400), 4), np.repeat(each, 4), np.ones(1600), seed=0)
    half = 1.96 * each.std() / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)


def test_one_side_wins_every_time() -> None:
    question = np.arange(10)
    found = win_rate(question, np.ones(10), np.ones(10), seed=0, style=np.random.default_rng(0).normal(size=(10, 4)))
    assert 0.99 < found.rate <= 1
    with pytest.raises(ValueError):
        win_rate(question[:0], np.ones(0), np.ones(0), seed=0)


def test_the_style_of_an_answer() -> None:
    text = "# Title\n## Part\n- one\n* two\n3. three\n**bold** and __strong__\n```\n# no header\n- no entry\n```\n"
    assert style_of(text, tokens=40) == Style(40, 2, 3, 2)
    found = difference(Style(30, 2, 0, 1), Style(10, 0, 0, 1))
    ours, theirs = np.array([2, 0, 1]) / 31, np.array([0, 0, 1]) / 11
    assert found == pytest.approx([0.5, *((ours - theirs) / (ours + theirs + 1))])
    assert difference(Style(0, 0, 0, 0), Style(0, 0, 0, 0)) == pytest.approx([0, 0, 0, 0])
