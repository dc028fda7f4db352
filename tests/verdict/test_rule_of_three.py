import numpy as np
import pytest

from whichbits.verdict.paired import Paired
from whichbits.verdict.rule_of_three import Units, gains, largest_unseen, losses, unseen_p_value


@pytest.mark.parametrize("number", [1, 10, 57, 2000])
def test_one_task_is_the_exact_rule_of_three(number):
    assert largest_unseen([Units(number, 100.0)], 0.025) == pytest.approx(100 * (1 - 0.025 ** (1 / number)))


def test_equal_tasks_share_what_is_unseen():
    # 8 tasks of 5 clusters, an eighth of the suite each: as 40 clusters of one task
    assert largest_unseen([Units(5, 12.5)] * 8, 0.025) == pytest.approx(100 * (1 - 0.025 ** (1 / 40)))


def test_the_worst_split_over_tasks_is_found():
    units = [Units(20, 30.0), Units(500, 70.0)]
    shares = np.linspace(0, 1 - 0.025 ** (1 / 20), 20_001)
    rest = 1 - (0.025 / (1 - shares) ** 20) ** (1 / 500)
    assert largest_unseen(units, 0.025) == pytest.approx(float(np.max(30 * shares + 70 * rest)), rel=1e-5)


def test_the_p_value_is_its_inverse():
    units = [Units(20, 30.0), Units(500, 70.0)]
    assert unseen_p_value(units, largest_unseen(units, 0.01)) == pytest.approx(0.01, rel=1e-6)
    assert unseen_p_value(units, 0.0) == 1.0


def test_a_cluster_loses_what_the_base_has_right_there_and_an_item_all():
    base = np.tile([1.0, 1.0, 1.0, 0.0, 0.0], 40)
    independent = Paired(base, base)
    clusters = Paired(base, base, 0.0, tuple(np.repeat(np.arange(40), 5)))
    assert losses([independent]) == (Units(200, pytest.approx(100 / 0.6)),)
    assert losses([clusters]) == (Units(40, pytest.approx(100.0)),)
    assert gains([clusters]) == losses([clusters])


def test_one_large_cluster_among_many_counts_for_few():
    base = np.ones(2000)
    pair = Paired(base, base, 0.0, (*("large",) * 1000, *range(1000)))
    assert pair.clusters == pytest.approx(2000**2 / (1000**2 + 1000))
    assert largest_unseen(losses([pair]), 0.025) > 50
