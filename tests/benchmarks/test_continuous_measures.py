"""What margins could add to a difference of scores: who holds what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

FOUND = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "verdict" / "continuous_measures.py"), run_name="bench")


def test_strata_hold_what_they_say_and_smoothed_scores_do_not() -> None:
    population = next(one for one in FOUND["POPULATIONS"] if one.name == "close right answers turn wrong")
    row = FOUND["measure"](population, 200, 0)
    _, _, changed, difference, paired, regression, width, _, smoothed, narrow, _ = (cell.strip() for cell in row.split("|"))
    assert float(difference) < -1 and 2 < float(changed) < 4
    assert float(paired) > 90
    assert float(regression) > 90
    assert float(smoothed) < 75
    assert float(narrow) < 0.7 < float(width) <= 1.01
