from __future__ import annotations

from collections.abc import Callable

import pytest

from whichbits.accuracy.ruler.fit import SLACK, fit


def counted(length: Callable[[int], int]) -> tuple[Callable[[int], int], list[int]]:
    asked: list[int] = []

    def tokens(units: int) -> int:
        asked.append(units)
        return length(units)

    return tokens, asked


@pytest.mark.parametrize("budget", [140, 1_000, 4_000, 131_000])
@pytest.mark.parametrize(
    "length",
    [
        lambda n: 100 + n,
        lambda n: 90 + 3 * n // 2,
        lambda n: 60 + 25 * n,
        lambda n: 100 + int(1.3 * n) + (7 * n) % 5,
        lambda n: 50 + n + n * n // 4000,
    ],
)
def test_it_fits_and_no_unit_more_would_or_little_is_left(length: Callable[[int], int], budget: int) -> None:
    tokens, asked = counted(length)
    found = fit(tokens, least=1, most=10**7, budget=budget)
    assert found is not None
    assert length(found) <= budget
    assert budget - length(found) <= SLACK or length(found + 1) > budget
    assert len(asked) <= 32


def test_a_good_start_needs_few_counts() -> None:
    tokens, asked = counted(lambda n: 60 + 2 * n)
    assert fit(tokens, least=1, most=10**7, budget=131_000, start=65_400) == 65_470
    assert len(asked) <= 4


def test_what_is_too_long_at_its_shortest_does_not_fit() -> None:
    assert fit(lambda n: 200 + n, least=5, most=100, budget=204) is None
    assert fit(lambda n: 200 + n, least=5, most=100, budget=205) == 5


def test_there_may_be_no_more() -> None:
    assert fit(lambda n: 2 * n, least=0, most=30, budget=1_000) == 30
