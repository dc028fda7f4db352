import numpy as np
import pytest

from whichbits.verdict.early_stopping.variances import PRIOR_ITEMS, variances
from whichbits.verdict.paired import Paired


def pair(changed: int, items: int, cluster: list[int] | None = None) -> Paired:
    """The first items are lost."""
    score = np.ones(items)
    score[:changed] = 0
    return Paired(np.ones(items), score, cluster=cluster)


def test_a_task_in_which_more_changes_varies_more() -> None:
    found = variances({"a": [pair(10, 100)], "b": [pair(0, 300)]})
    mean = 9.0 / 400  # squares of a: 10 · 0.9² + 90 · 0.1²
    assert found == pytest.approx(
        {"a": (9.0 + PRIOR_ITEMS * mean) / (100 + PRIOR_ITEMS), "b": PRIOR_ITEMS * mean / (300 + PRIOR_ITEMS)}
    )


def test_items_that_change_together_vary_more() -> None:
    apart, together = (variances({"a": [pair(10, 100, c)]})["a"] for c in (None, [n // 10 for n in range(100)]))
    assert together == pytest.approx(10 * apart)


def test_several_pairs_of_a_task_are_one() -> None:
    assert variances({"a": [pair(10, 100)] * 2})["a"] == pytest.approx(0.09)


def test_where_nothing_changed_nothing_is_known() -> None:
    assert variances({"a": [pair(0, 100)], "b": [pair(0, 3)]}) == {}
