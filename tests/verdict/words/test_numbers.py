import subprocess
import sys

from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.words.numbers import listing, percent, plural, times


def estimate(value, low, high):
    return Estimate(value=value, low=low, high=high)


def test_percent_has_decimals_enough_to_tell_an_end_from_the_bound():
    assert percent(estimate(99.81, 99.02, 100.44), 99.0) == "99.81 % (99.02 to 100.44)"
    assert percent(estimate(99.81, 99.12, 100.44), 99.0) == "99.8 % (99.1 to 100.4)"
    assert percent(estimate(99.81, 98.9996, 100.44), 99.0) == "99.810 % (99.000 to 100.440)"
    assert percent(estimate(100.0, 100.0, 100.0)) == "100.0 % (100.0 to 100.0)"


def test_words():
    assert times(estimate(1.2, 1.1, 1.304)) == "1.20 times (1.10 to 1.30)"
    assert times(estimate(1.0081, 1.0013, 1.0149)) == "1.008 times (1.001 to 1.015)"
    assert times(estimate(0.95, 0.9, 0.99996)) == "0.95000 times (0.90000 to 0.99996)"
    assert times(estimate(1.00003, 0.97, 1.03)) == "1.00 times (0.97 to 1.03)"
    assert times(estimate(1.0, 1.0, 1.0)) == "1.00 times (1.00 to 1.00)"
    assert times(SingleRound(value=1.204)) == "1.20 times (one round, so without an interval)"
    assert [listing(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert (plural(1, "item"), plural(2000, "item")) == ("1 item", "2,000 items")


def test_reading_a_verdict_and_importing_the_decision_stay_light():
    heavy = "{'scipy', 'pyarrow', 'duckdb', 'torch', 'pandas'}"
    code = f"import sys, whichbits.verdict.collect, whichbits.verdict.assemble; print({heavy} & set(sys.modules))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "set()"
