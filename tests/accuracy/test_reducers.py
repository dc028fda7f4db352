"""Reducers against enumeration, and the variance between and within items against what was drawn."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest

from whichbits.accuracy.reducers.pass_at_k import pass_at_k
from whichbits.accuracy.reducers.reducer import Answer
from whichbits.accuracy.reducers.registry import reducer
from whichbits.accuracy.result import variances
from whichbits.accuracy.sampling import check, sample_seed
from whichbits.core.errors import UserError
from whichbits.schema.sampling import Sampling


def answers(*pairs: tuple[float, str]) -> list[Answer]:
    return [Answer(score, vote) for score, vote in pairs]


@pytest.mark.parametrize(("n", "right", "k"), [(n, c, k) for n in (1, 4, 7) for c in range(n + 1) for k in range(1, n + 1)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n: int, right: int, k: int) -> None:
    subsets = list(itertools.combinations([1] * right + [0] * (n - right), k))
    assert pass_at_k(n, right, k) == pytest.approx(statistics.fmean(max(one) for one in subsets))


def test_pass_at_k_has_no_bias() -> None:
    """Averaged over all outcomes of n answers that are right with probability p, it is 1 − (1 − p)^k."""
    n, k, p = 6, 3, 0.3
    mean = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - p) ** k)


def test_reducers_by_name() -> None:
    four = answers((1, "a"), (0, "b"), (0, "b"), (0, "c"))
    assert reducer("mean")(four) == 0.25
    assert reducer("pass@2")(four) == pytest.approx(0.5)
    assert reducer("majority")(four) == 0
    assert reducer("majority")(answers((1, "a"), (0, "b"))) == 0.5
    assert reducer("majority")(answers((0, ""), (0, ""), (1, "a"))) == 1
    assert reducer("majority")(answers((0, ""), (0, ""))) == 0
    for wrong in ("pass", "pass@0", "pass@x", "median", "mean@2"):
        with pytest.raises(UserError, match="no reducer") as raised:
            reducer(wrong)
        assert "majority" in str(raised.value.remedy)
    with pytest.raises(UserError, match=r"has the score 0\.5"):
        reducer("pass@1")(answers((0.5, "a")))


@pytest.mark.parametrize(
    ("sampling", "problem"),
    [
        ({"samples": 4}, "4 times the same"),
        ({"samples": 4, "temperature": 0.6, "reducer": "pass@5"}, "needs 5 answers"),
        ({"temperature": 0.6, "reducer": "best"}, "no reducer"),
    ],
)
def test_sampling_that_contradicts_itself(sampling: dict[str, object], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check(Sampling(**sampling))
    check(Sampling(temperature=0.6, top_p=0.95, samples=20, reducer="pass@10"))


def test_seeds_differ_by_item_and_sample_and_are_the_same_everywhere() -> None:
    assert sample_seed(0, "ab", 0) == int("4e8c9006", 16)
    assert len({sample_seed(seed, item, k) for seed in (0, 1) for item in "ab" for k in range(50)}) == 200
    assert all(0 <= sample_seed(0, str(n), 0) < 2**31 for n in range(100))


def test_variances_by_hand() -> None:
    # means 0.5 and 1; variances 0.5 and 0: within 0.25, spread of means 0.125, less 0.25 / 2
    assert variances([(1.0, 0.0), (1.0, 1.0)]) == (0.0, 0.25)
    assert variances([(1.0, 0.0)]) == (None, 0.5)
    # means 0 and 1 without spread within
    assert variances([(0.0, 0.0), (1.0, 1.0)]) == (0.5, 0.0)


def test_variances_are_those_that_items_were_drawn_with() -> None:
    """Chances uniform on 0 to 1: between items 1/12, within E[p (1 − p)] = 1/6."""
    draw = random.Random(1)
    found = []
    for _ in range(300):
        chances = [draw.random() for _ in range(60)]
        found.append(variances([tuple(float(draw.random() < p) for _ in range(5)) for p in chances]))
    between, within = (statistics.fmean(values) for values in zip(*found, strict=True))
    assert between == pytest.approx(1 / 12, abs=0.004)
    assert within == pytest.approx(1 / 6, abs=0.004)
