from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichbits.core.errors import UserError
from whichbits.quantization.mixed_precision.knapsack import Option, assign

OPTIONS = [
    Option("a", "int4", 40, 10), Option("a", "int8", 80, 2), Option("a", "bf16", 160, 0),
    Option("b", "int4", 40, 3), Option("b", "int8", 80, 1), Option("b", "bf16", 160, 0),
]  # fmt: skip


def test_by_hand() -> None:
    """Eight of error for 40 bits at a; then two at b; then two for 80 bits at a."""
    assert assign(OPTIONS, bits=119) == {"a": "int4", "b": "int4"}
    assert assign(OPTIONS, bits=120) == {"a": "int8", "b": "int4"}
    assert assign(OPTIONS, bits=160) == {"a": "int8", "b": "int8"}
    assert assign(OPTIONS, bits=240) == {"a": "bf16", "b": "int8"}
    assert assign(OPTIONS, error=5) == {"a": "int8", "b": "int4"}
    assert assign(OPTIONS, error=0) == {"a": "bf16", "b": "bf16"}


def test_options_that_are_not_worth_their_bits_are_never_taken() -> None:
    """`worse` is larger and less exact than int4; `between` gains less for a bit than int8 does."""
    options = [*OPTIONS, Option("a", "worse", 60, 11), Option("a", "between", 79, 9.9)]
    assert all(assign(options, bits=bits) == assign(OPTIONS, bits=bits) for bits in range(80, 330, 10))


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(UserError, match="79 bits is less than the 80"):
        assign(OPTIONS, bits=79)
    with pytest.raises(UserError, match="less than the error of 3"):
        assign([option for option in OPTIONS if option.format != "bf16"], error=2)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(
        st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=4), min_size=1, max_size=4
    ),
    spare=st.integers(0, 120),
)
def test_it_keeps_to_the_budget_and_is_at_most_one_purchase_from_the_best(
    numbers: list[list[tuple[int, int]]], spare: int
) -> None:
    units = [
        [Option(str(unit), str(n), bits, error) for n, (bits, error) in enumerate(choices)]
        for unit, choices in enumerate(numbers)
    ]
    budget = sum(min(option.bits for option in unit) for unit in units) + spare
    chosen = assign((option for unit in units for option in unit), bits=budget)
    taken = [option for unit in units for option in unit if chosen[option.unit] == option.format]
    assert sum(option.bits for option in taken) <= budget
    possible = [pick for pick in itertools.product(*units) if sum(option.bits for option in pick) <= budget]
    best = min(sum(option.error for option in pick) for pick in possible)
    largest_purchase = max(max(option.error for option in unit) - min(option.error for option in unit) for unit in units)
    assert best <= sum(option.error for option in taken) <= best + largest_purchase
