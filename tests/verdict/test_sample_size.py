import numpy as np
import pytest

from whichbits.verdict.findings import ScoredTask
from whichbits.verdict.paired import Paired, suite_ratio
from whichbits.verdict.recovery import recovery
from whichbits.verdict.sample_size import Plan, extension, undecidable


def error(tasks, items=None):
    plan = Plan(tasks, 100 * suite_ratio([task.pair for task in tasks]), 0.95)
    return plan.error(plan.items if items is None else np.array(items, dtype=float))


def scored(task, items, lost, gained, available=None, right=0.6):
    base = np.zeros(items)
    base[: int(right * items)] = 1
    score = base.copy()
    score[:lost] = 0
    score[items - gained :] = 1
    return ScoredTask("candidate", task, "vllm", "measured", available, Paired(base, score), ())


def test_the_error_is_that_of_the_interval():
    tasks = [scored("a", 1000, 60, 40), scored("b", 500, 20, 25)]
    estimate = recovery([task.pair for task in tasks]).estimate
    assert error(tasks) == pytest.approx((estimate.high - estimate.low) / 2 / 2.005, rel=0.04)


def test_the_items_asked_for_are_those_that_give_the_power():
    tasks = [scored("a", 1000, 60, 55), scored("b", 1000, 20, 15)]
    found = extension(tasks, 97.5)
    assert found is not None
    assert found.tasks == ("a",)  # more flips, so more to gain there
    value = recovery([task.pair for task in tasks]).estimate.value
    remaining = error(tasks, [1000 + found.items, 1000])
    assert (value - 97.5) / remaining == pytest.approx(2.004654 + 0.841621, rel=0.001)


def test_a_task_at_its_end_cannot_be_extended():
    tasks = [scored("fixed", 1000, 60, 50, available=1000)]
    assert extension(tasks, 98.0) is None
    found = undecidable(tasks, 98.0)
    assert (found.code, found.others_unlimited) == ("difference_too_small", False)
    assert [(size.task, size.items) for size in found.tasks] == [("fixed", 1000)]
    assert found.distance == pytest.approx(1 / 3)
    assert found.detectable > found.distance


def test_a_fixed_task_that_was_cut_short_can_be_extended_to_its_end():
    tasks = [scored("arc", 1000, 60, 60, available=1_000_000)]
    found = extension(tasks, 99.0)
    assert found is not None
    assert extension([scored("arc", 1000, 60, 60, available=1000 + found.items)], 99.0) == found
    assert extension([scored("arc", 1000, 60, 60, available=1000 + found.items - 1)], 99.0) is None


def test_where_no_task_suffices_alone_all_are_extended():
    tasks = [scored("a", 1000, 60, 55), scored("b", 1000, 60, 55)]
    found = extension(tasks, 98.7)
    assert found is not None
    assert found.tasks == ("a", "b")
    value = recovery([task.pair for task in tasks]).estimate.value
    remaining = error(tasks, [1000 + found.items / 2] * 2)
    assert (value - 98.7) / remaining == pytest.approx(2.846276, rel=0.001)
    assert found.ended == ()


def test_a_task_that_runs_out_gives_its_last_items_and_the_others_the_rest():
    """As `order` beside `recall`: neither suffices alone, and one has few items left."""
    tasks = [scored("recall", 1000, 60, 55), scored("order", 1000, 60, 55, available=20_000)]
    found = extension(tasks, 98.5)
    assert found is not None
    assert (found.tasks, found.ended) == (("recall",), (("order", 20_000),))
    value = recovery([task.pair for task in tasks]).estimate.value
    remaining = error(tasks, [1000 + found.items - 19_000, 20_000])
    assert (value - 98.5) / remaining == pytest.approx(2.846276, rel=0.001)


def test_tasks_that_run_out_too_soon_are_named_with_all_their_items():
    tasks = [scored("order", 500, 30, 25, available=649), scored("recall", 1000, 60, 55)]
    assert extension(tasks, 99.15) is None
    both, alone = undecidable(tasks, 99.15), undecidable(tasks[:1], 99.15)
    assert (both.code, both.others_unlimited, alone.others_unlimited) == ("difference_too_small", True, False)
    assert [(size.task, size.items) for size in both.tasks] == [("order", 649)]
    assert alone.detectable == pytest.approx(2.846276 * error(tasks[:1], [649]), rel=0.001)


def test_on_the_bound_itself_no_number_suffices():
    found = undecidable([scored("a", 1000, 60, 60)], 100.0)
    assert (found.code, found.distance) == ("no_number_suffices", 0)


def clustered(task, clusters, size, lost, available=None):
    """Every cluster loses `lost` of its items, 60 % of which the base has right."""
    base = np.tile(np.arange(size) < 0.6 * size, clusters).astype(float)
    score = base.copy().reshape(clusters, size)
    score[:, :lost] = 0
    pair = Paired(base, score.ravel(), 0.0, tuple(np.repeat(np.arange(clusters), size)))
    return ScoredTask("candidate", task, "vllm", "measured", available, pair, ())


def test_few_clusters_ask_for_clusters():
    tasks = [clustered("documents", 10, 200, 1)]
    more = extension(tasks, 95.0)
    assert more.tasks == ("documents",)
    assert more.items == pytest.approx(200 * more.clusters, rel=0.01)
    # with so many, none of them broken, the rule of three leaves less than the 4.2 points to the bound
    every = 10 + more.clusters
    assert 100 * (1 - 0.025 ** (1 / every)) < 100 * (1 - 1 / 120) - 95.0 < 100 * (1 - 0.025 ** (1 / (every - 12)))


def test_clusters_that_run_out_are_said_to_be_what_lacks():
    tasks = [clustered("documents", 10, 200, 1, available=2000)]
    assert extension(tasks, 95.0) is None
    found = undecidable(tasks, 95.0)
    assert found.code == "too_few_clusters"
    assert [(size.task, size.clusters) for size in found.clustered] == [("documents", 10)]


def test_the_task_with_few_clusters_is_the_one_to_extend():
    tasks = [clustered("documents", 10, 200, 1), scored("recall", 2000, 20, 18)]
    found = extension(tasks, 97.5)
    assert found.tasks == ("documents",)
    assert found.clusters is not None
    assert extension([clustered("documents", 10, 200, 1, available=2000), tasks[1]], 97.5) is None
