"""A run with more items asks for the new ones alone, and finds what a run of all of them at once finds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from whichbits.accuracy.earlier_items import Kept, KeptDiffer, kept
from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.item import Item
from whichbits.accuracy.kinds.generated import Generated
from whichbits.accuracy.kinds.jsonl import own_task
from whichbits.accuracy.registry import task
from whichbits.accuracy.result import TaskResult
from whichbits.accuracy.run_lm_eval import run_lm_eval
from whichbits.accuracy.task import Task
from whichbits.accuracy.tokens import PromptTokenizer

pytest.importorskip("lm_eval")


class Hashed:
    """Answers that depend on the request alone; counts the requests."""

    max_length = 4096

    def __init__(self) -> None:
        self.asked = 0

    def loglikelihood(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        self.asked += len(pairs)
        return [(-self._digest(list(pair[0]), list(pair[1])) / 2**30, False) for pair in pairs]

    def generate(
        self, prompts: Sequence[Sequence[int]], *, seed: int | Sequence[int] = 0, **_: object
    ) -> list[SimpleNamespace]:
        self.asked += len(prompts)
        seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
        texts = [" oak" if self._digest(list(p), [s]) % 2 else " elm" for p, s in zip(prompts, seeds, strict=True)]
        return [SimpleNamespace(text=text, tokens=len(text), finish_reason="stop") for text in texts]

    @staticmethod
    def _digest(*parts: list[int]) -> int:
        return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:4], "big")


def longer(one: Task, folder: Path, *limits: int | None) -> tuple[TaskResult, int]:
    """The result of the last limit, each run after the one before it, and how many requests the last one sent."""
    result, before = None, None
    for limit in limits:
        model = Hashed()
        known = kept(before, result.summary, result.rows()) if result is not None and before is not None else None
        result, before = evaluate(one, model, folder, limit=limit, seed=3, kept=known), limit
    assert result is not None
    return result, model.asked


def own(folder: Path) -> Task:
    """A task of 9 lines, two of which are the same."""
    lines = [
        {"prompt": f"a tree of {n} letters:", "target": "oak" if n % 3 else "elm", "cluster": str(n)} for n in (*range(8), 2)
    ]
    (folder / "trees.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return own_task("trees", folder / "trees.jsonl")


@pytest.mark.parametrize("name", ["choice", "order"])
def test_more_items_of_a_generator_are_asked_alone(name: str, tiny_llama: Path) -> None:
    whole, every = longer(task(name), tiny_llama, 12)
    grown, asked = longer(task(name), tiny_llama, 5, 8, 12)
    assert grown == whole
    assert asked * 3 == every  # 4 of 12 items


def test_all_lines_after_some_of_them_also_where_two_are_the_same(tiny_llama: Path, tmp_path: Path) -> None:
    one = own(tmp_path)
    whole, every = longer(one, tiny_llama, None)
    assert (longer(one, tiny_llama, 4, None), every) == ((whole, 5), 9)
    assert 0 < whole.summary.score < 1


def test_samples_of_the_new_items_alone(tiny_llama: Path, tmp_path: Path) -> None:
    one = own(tmp_path).model_copy(update={"temperature": 0.7, "samples": 3, "reducer": "majority"})
    whole, every = longer(one, tiny_llama, 9)
    assert (longer(one, tiny_llama, 6, 9), every) == ((whole, 9), 27)
    assert whole.summary.sampled is not None
    assert (whole.summary.sampled.variance_within or 0) > 0


def test_items_in_a_random_order_grow_alike(tiny_llama: Path, tmp_path: Path) -> None:
    one = own(tmp_path)
    mixed = one.model_copy(update={"order": 1})
    whole, every = longer(mixed, tiny_llama, None)
    assert (longer(mixed, tiny_llama, 2, 5, 9), every) == ((whole, 4), 9)
    plain, _ = longer(one, tiny_llama, None)
    names = [item.item for item in whole.items]
    assert sorted(names) == sorted(item.item for item in plain.items) != names
    assert whole.summary.score == plain.summary.score


def test_the_limit_of_a_group_in_a_random_order_is_of_all_members(tiny_llama: Path) -> None:
    def run(limit: int, known: TaskResult | None, before: int) -> tuple[TaskResult, int]:
        model, members = Hashed(), {}
        for name in ("order", "recall"):
            members |= Generated().harness_tasks(task(name), seed=3, data_dir=None)
        group = task("order").model_copy(update={"name": "both", "order": 0})
        old = kept(before, known.summary, known.rows()) if known else None
        return run_lm_eval(group, members, model, PromptTokenizer(tiny_llama), kept=old, limit=limit, seed=3), model.asked

    some, _ = run(7, None, 0)
    assert len(some.items) == 7
    assert run(12, some, 7) == (run(12, None, 0)[0], 5)


def test_the_limit_is_of_each_member_of_a_group(tiny_llama: Path) -> None:
    def run(limit: int, known: TaskResult | None, before: int) -> tuple[TaskResult, int]:
        model, members = Hashed(), {}
        for name in ("order", "recall"):
            members |= Generated().harness_tasks(task(name), seed=3, data_dir=None)
        group = task("order").model_copy(update={"name": "both"})
        old = kept(before, known.summary, known.rows()) if known else None
        return run_lm_eval(group, members, model, PromptTokenizer(tiny_llama), kept=old, limit=limit, seed=3), model.asked

    some, _ = run(3, None, 0)
    assert run(5, some, 3) == (run(5, None, 0)[0], 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda item: replace(item, prompt_hash="another"),
        lambda item: replace(item, item="another"),
        lambda item: replace(item, target_hash="another"),
    ],
)
def test_everything_is_asked_again_where_the_items_have_changed(change: Callable, tiny_llama: Path, tmp_path: Path) -> None:
    one = own(tmp_path)
    some, _ = longer(one, tiny_llama, 4)
    old = kept(4, some.summary, some.rows())
    assert old is not None
    first, *others = old.items.values()
    differs = replace(old, items={item.item: item for item in (change(first), *others)})
    model = Hashed()
    assert evaluate(one, model, tiny_llama, seed=3, kept=differs) == longer(one, tiny_llama, None)[0]
    assert model.asked == 5 + 9


def test_an_item_that_is_missing_is_a_change() -> None:
    item = Item("a", "p", "t", "a", 1.0, "x", "x")
    with pytest.raises(KeptDiffer, match="1 items before, 0 now"):
        Kept(1, {"a": item}).put([], Kept(1).rows([]))
