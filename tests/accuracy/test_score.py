from __future__ import annotations

import pytest

from whichbits.accuracy.score import Match, score


@pytest.mark.parametrize(
    ("metric", "answer", "target", "expected"),
    [
        ("exact_match", " 42\n", "42", 1.0),
        ("exact_match", "42.", "42", 0.0),
        ("exact_match", "Paris", "paris", 0.0),
        ("exact_match", "", "x", 0.0),
        ("regex", "It is 42, I think", r"\b42\b", 1.0),
        ("regex", "It is 421", r"\b42\b", 0.0),
        ("regex", "PARIS", "(?i)^paris$", 1.0),
    ],
)
def test_scores(metric: Match, answer: str, target: str, expected: float) -> None:
    assert score(metric, answer, target) == expected
