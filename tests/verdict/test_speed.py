import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.verdict.collect import collect
from whichbits.verdict.estimates import Estimate, SingleRound
from whichbits.verdict.round_statistics import RoundValue
from whichbits.verdict.speed import average, loads, queries, ratio, series, speed_findings

FORMATS = {"bf16": "bf16", "w8a8-int": "w8a8-int", "w4a16-int": "w4a16-int"}
VALUES = st.floats(0.01, 100)


def by_round(values, error=0.01):
    return {("one", str(r)): RoundValue(value, error, 9.0) for r, value in enumerate(values)}


def load_of(found, candidate, load_level):
    return next(load for load in found if (load.candidate, load.load_level) == (candidate, load_level))


def test_ratio_is_taken_within_each_round():
    # the machine slows down from round to round; the ratio does not
    found = ratio(by_round([2.0, 4.0, 8.0]), by_round([1.0, 2.0, 4.0]), level=0.95)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert found.high / found.low < 1.1
    drift = average(by_round([2.0, 4.0, 8.0]), level=0.95)
    assert drift is not None
    assert drift.high / drift.low > 10


def test_rounds_that_only_one_side_has_do_not_enter():
    found = ratio(by_round([2.0, 4.0, 800.0]), by_round([1.0, 2.0]), level=0.95)
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert ratio(by_round([1.0]), {}, level=0.95) is None


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=5))
def test_swapping_numerator_and_denominator_inverts_the_ratio(rows):
    above, below = by_round([a for a, _ in rows]), by_round([b for _, b in rows])
    there, back = ratio(above, below, level=0.95), ratio(below, above, level=0.95)
    assert there is not None
    assert back is not None
    assert there.value * back.value == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)


def test_the_base_is_measured_once_though_every_step_holds_a_copy(steps):
    copies = [steps.serve(name, r, {1: (1.0, 2.0)}) for r in range(2) for name in ("w8a8-int", "w4a16-int")]
    load = load_of(loads(collect(copies, "bf16", FORMATS)), "bf16", "synchronous")
    assert [r.repeat for r in load.own] == [0, 1]


def test_two_measurements_of_one_round_count_as_their_mean(steps):
    records = [steps.serve("w8a8-int", 0, {4: (1.0, 2.0)}), steps.serve("w4a16-int", 0, {4: (1.0, 4.5)})]
    base = load_of(loads(collect(records, "bf16", FORMATS)), "bf16", "concurrency 4")
    (value,) = series(base.own, "requests_per_second").values()
    assert value.value == pytest.approx(np.sqrt(4 / 2.0 * 4 / 4.5))


def test_synchronous_queries_are_the_inverse_of_latency(steps):
    records = [steps.serve("w8a8-int", 0, {1: (0.5, 1.0)})]
    load = load_of(loads(collect(records, "bf16", FORMATS)), "w8a8-int", "synchronous")
    (value,) = queries(load).values()
    assert value.value == pytest.approx(2.0, rel=0.03)


def test_findings_of_a_load(steps):
    records = [steps.serve("w8a8-int", r, {1: (0.5, 1.0), 16: (1.0, 2.0)}) for r in range(3)]
    formed = loads(collect(records, "bf16", FORMATS))
    found = {
        (s.metric, s.percentile): s for s in speed_findings(load_of(formed, "w8a8-int", "concurrency 16"), None, level=0.95)
    }
    assert found[("latency_s", None)].ratio.value == pytest.approx(0.5, rel=0.02)
    assert found[("requests_per_second", None)].ratio.value == pytest.approx(2.0, rel=0.02)
    assert found[("latency_s", 95.0)].ratio.value == pytest.approx(0.5, rel=0.02)
    assert found[("latency_s", 95.0)].rounds == 3
    assert ("itl_s", 95.0) not in found
    assert ("latency_s", 99.0) not in found  # 160 requests a round are too few
    alone = {(s.metric, s.percentile) for s in speed_findings(load_of(formed, "w8a8-int", "synchronous"), None, level=0.95)}
    assert ("latency_s", 50.0) in alone
    assert ("latency_s", 95.0) not in alone


def test_a_percentile_is_the_mean_over_rounds_of_each_rounds_own(steps):
    # 3 rounds whose medians are 1.00, 1.10 and 1.21 s: the pooled median would be 1.10 with an interval of a few ms
    records = [steps.serve("w8a8-int", r, {16: (1.1**r, 1.1**r)}) for r in range(3)]
    load = load_of(loads(collect(records, "bf16", FORMATS)), "w8a8-int", "concurrency 16")
    median = next(s for s in speed_findings(load, None, level=0.95) if (s.metric, s.percentile) == ("latency_s", 50.0))
    half = 4.3027 * np.log(1.1) / np.sqrt(3)
    assert median.estimate.value == pytest.approx(1.1, rel=0.01)
    assert np.log(median.estimate.high / median.estimate.value) == pytest.approx(half, rel=0.05)
    assert isinstance(median.ratio, Estimate)
    assert median.ratio.high / median.ratio.low < 1.05


def test_one_round_has_no_interval(steps):
    load = load_of(
        loads(collect([steps.serve("w8a8-int", 0, {16: (1.0, 2.0)})], "bf16", FORMATS)), "w8a8-int", "concurrency 16"
    )
    for finding in speed_findings(load, None, level=0.95):
        assert isinstance(finding.estimate, SingleRound) and isinstance(finding.ratio, SingleRound)
        assert finding.rounds == 1
        assert [reason.code for reason in finding.reasons] == ["one_round"]
