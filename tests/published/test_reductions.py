"""Tables 5 and 6 from their own cells: every queries per dollar, every cost reduction, every speed-up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whichbits.published.reductions import Reduction, cells, reductions
from whichbits.published.tables import figures

TRANSCRIBED = {
    ("cost-reduction", "8B", "A6000"): (1.54, 2.39), ("cost-reduction", "70B", "A6000"): (1.94, 2.96),
    ("cost-reduction", "70B", "A100-SXM-80GB"): (1.81, 2.67), ("cost-reduction", "70B", "H100-SXM"): (1.84, 2.11),
    ("cost-reduction", "405B", "A100-SXM-80GB"): (3.27, 6.38), ("cost-reduction", "405B", "H100-SXM"): (3.17, 5.15),
    ("speed-up", "8B", "A6000"): (1.38, 1.08), ("speed-up", "70B", "A6000"): (1.91, 1.92),
    ("speed-up", "70B", "A100-SXM-80GB"): (1.87, 1.64), ("speed-up", "70B", "H100-SXM"): (1.77, 1.55),
    ("speed-up", "405B", "A100-SXM-80GB"): (2.53, 2.21), ("speed-up", "405B", "H100-SXM"): (3.04, 3.09),
}  # fmt: skip
"""W8A8 and W4A16."""


@pytest.mark.parametrize("table", ["paper_table_5", "paper_table_6"])
def test_every_queries_per_dollar_follows_from_its_latency_or_rate(table: str) -> None:
    of_table = [cell for place in cells(table).values() for cell in place.values()]
    assert len(of_table) == 126
    assert all(cell.agrees for cell in of_table)


def test_the_printed_means_are_those_of_the_paper() -> None:
    found: dict[tuple[str, str, str], list[float]] = {}
    for one in figures("cost-reduction"):
        size = one.model.split("-")[-2]
        found.setdefault((one.quantity, size, one.setting.partition(" x ")[2]), []).append(one.value)
    assert {place: tuple(values) for place, values in found.items()} == TRANSCRIBED


@pytest.mark.parametrize("found", list(reductions()), ids=lambda one: f"{one.printed.quantity}-{one.printed.printed}")
def test_every_mean_follows_from_the_cells_but_for_the_erratum(found: Reduction) -> None:
    assert found.agrees == (found.printed.erratum is None)
    assert found.computed.high - found.computed.low < 0.35


def test_a_mean_that_is_wrong_would_be_noticed() -> None:
    """Five hundredths are seen in every mean of Table 5."""
    for found in list(reductions())[:12]:
        printed = f"{found.printed.value + 0.05:.2f}"
        assert not replace(found, printed=replace(found.printed, printed=printed)).agrees


def test_the_geometric_mean_does_not_fit() -> None:
    """The paper's means are arithmetic: most of its geometric ones are elsewhere."""
    fitting = [found for found in reductions() if found.printed.bounds[0] <= found.geometric <= found.printed.bounds[1]]
    assert len(fitting) < 12
    assert all(found.geometric <= found.computed.value for found in reductions())


def test_devices_of_each_format() -> None:
    """In Table 5 W4A16 takes half of the devices of BF16 or fewer; its cost reduction counts that."""
    rows = {(one.setting, one.model) for one in figures("5") if one.format == "w4a16-int"}
    assert ("2 x A6000", "meta-llama/Llama-3.1-70B-Instruct") in rows
