from __future__ import annotations

import pytest

from whichbits.accuracy.floor_ceiling import uninformative


@pytest.mark.parametrize(
    ("score", "chance", "reason"),
    [
        (0.96, 0.25, "above 95%"),
        (0.95, 0.25, None),
        (0.50, 0.25, None),
        (0.49, 0.25, "below 50.0%"),
        (0.29, 0.25, "less than 5 points"),
        (0.04, 0.0, "less than 5 points"),  # HumanEval of the embedded model
        (0.05, 0.0, None),
        (0.74, 0.5, "below 75.0%"),
        (0.76, 0.5, None),
    ],
)
def test_where_a_task_says_something(score: float, chance: float, reason: str | None) -> None:
    found = uninformative(score, chance)
    assert found is None if reason is None else found is not None and reason in found
