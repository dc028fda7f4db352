"""The tables of speeds: as many cells as printed, consistent with the prices they are printed with."""

import csv
from importlib.resources import files

import pytest

from whichbits.cost.prices import prices
from whichbits.prediction.training.measurements import PUBLISHED, published
from whichbits.published.figures import printed_number as printed


def rows(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(files("whichbits.published").joinpath(f"{table}.csv").read_text().splitlines()))


def test_every_cell_is_there() -> None:
    assert [len(rows(table)) for table in PUBLISHED] == [126, 126, 72, 72]


def test_errata_are_flagged_and_left_out() -> None:
    flagged = [row for row in rows("paper_table_5") if row["erratum"]]
    assert {(row["hardware"], row["workload"]) for row in flagged} == {("A100-SXM-80GB", "docstring-generation")}
    assert len(flagged) == 3
    assert len(published()) == 126 + 126 + 72 + 72 - 3 - 2


@pytest.mark.parametrize("table", ["paper_table_5", "paper_table_6"])
def test_prices_are_those_of_the_papers_list(table: str) -> None:
    listed = prices("paper-2024-10")
    for row in rows(table):
        as_h100 = row["erratum"] == "priced-as-h100"
        device = "H100" if as_h100 else row["hardware"]
        assert float(row["price_per_hour"]) == pytest.approx(listed.price(device).per_hour(int(row["count"])), abs=0.005)


def test_printed_numbers_carry_their_rounding() -> None:
    assert printed("24.5") == pytest.approx((24.5, 24.45, 24.55))
    assert printed("6.8k") == pytest.approx((6800, 6750, 6850))
    assert printed("183") == pytest.approx((183, 182.5, 183.5))
