"""Tasks drawn from a seed: nothing is downloaded, and no model can have been trained on the items.

Every generator writes one item from a random generator of its own. Items are short, so that a small model on a small machine
answers thousands, and its difficulty lies where a base model of 135 M parameters is neither perfect nor at chance
(`benchmarks/generated_tasks.py` prints where).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import yaml

from whichbits.accuracy.documents import harness_task, prompt_lengths
from whichbits.accuracy.harness import HarnessTask
from whichbits.accuracy.kind import HarnessKind
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError

Document = dict[str, Any]

STEPS, FIRSTS = range(2, 13), range(1, 60)
"""Steps and first numbers of the progressions of `order`."""

MOST: Mapping[str, int] = {"order": len(STEPS) * len(FIRSTS)}
"""How many different items there are of generators that run out of them; the others have more than anyone asks for."""


@cache
def _words() -> dict[str, Any]:
    text = (files("whichbits.accuracy") / "suites" / "words" / "english.yaml").read_text(encoding="utf-8")
    words: dict[str, Any] = yaml.safe_load(text)
    return words


def recall(random: Random) -> Document:
    """Key-value recall: five pairs, two of them repeated in another order to show the task, and the key of a third."""
    words = random.sample(_words()["nouns"], 10)
    pairs = list(zip(words[:5], words[5:], strict=True))
    order = random.sample(pairs, 3)
    key, value = order[2]
    shown = ", ".join(f"{first}: {second}" for first, second in [*pairs, *order[:2]])
    return {"prompt": f"{shown}, {key}:", "target": value}


def needle(random: Random) -> Document:
    """Needle in a haystack: a three-digit code in one sentence among two others, asked for at the end."""
    words = _words()
    name = random.choice(words["names"])
    code = str(random.randrange(100, 1000))
    sentences = random.sample(words["fillers"], 2)
    sentences.insert(random.randrange(3), f"The code of {name} is {code}.")
    return {"prompt": f"{' '.join(sentences)} The code of {name} is", "target": code}


def copy(random: Random) -> Document:
    """Copy: a list of six words, begun a second time after its end; the last two are asked for."""
    words = random.sample(_words()["nouns"], 6)
    return {"prompt": f"{', '.join(words)}\n{', '.join(words[:4])},", "target": ", ".join(words[4:])}


def order(random: Random) -> Document:
    """Order: six numbers of an arithmetic progression upwards, and the next one asked for."""
    step, first = random.choice(STEPS), random.choice(FIRSTS)
    numbers = [str(first + step * index) for index in range(7)]
    return {"prompt": f"{', '.join(numbers[:6])},", "target": numbers[6]}


def choice(random: Random) -> Document:
    """Choice by log-likelihood: two words of one kind, and which of four words of related kinds goes with them."""
    words = _words()
    kin = random.choice(words["kin"])
    kind = random.choice(kin)
    categories: Mapping[str, list[str]] = words["categories"]
    first, second, answer = random.sample(categories[kind], 3)
    choices = [answer, *(random.choice(categories[other]) for other in kin if other != kind)]
    random.shuffle(choices)
    return {"prompt": f"{first}, {second},", "choices": choices, "answer": choices.index(answer)}


GENERATORS: Mapping[str, Callable[[Random], Document]] = {
    generator.__name__: generator for generator in (recall, needle, copy, order, choice)
}


def documents(generator: str, count: int, *, version: int, seed: int) -> list[Document]:
    """`count` different items of a generator; the first n of them are the same whatever `count` is."""
    if generator not in GENERATORS:
        raise UserError(f"source: there is no generator {generator!r}", remedy=f"choose from {', '.join(GENERATORS)}")
    made: dict[str, Document] = {}
    draws = newest = 0
    while len(made) < count:
        if draws - newest > 20 * len(made) + 1000:
            raise UserError(f"items: {generator} has no {count} different items", remedy=f"ask for at most {len(made)}")
        document = GENERATORS[generator](Random(f"{generator}/{version}/{seed}/{draws}"))
        if made.setdefault(f"{document['prompt']}\0{document.get('choices')}", document) is document:
            newest = draws
        draws += 1
    return list(made.values())


class Generated(HarnessKind):
    """Tasks whose items are drawn from a seed."""

    name = "generated"
    metrics = ("acc", "acc_norm", "exact_match", "regex")
    drawn = True

    def check(self, task: Task) -> None:
        """Raise UserError where the task does not say how many items are made, or has another kind's metric."""
        if task.items is None:
            raise UserError(f"items: task {task.name} does not say how many are made", remedy="set items, for example 400")
        self.check_metric(task)

    def harness_tasks(self, task: Task, *, seed: int, data_dir: Path | None) -> dict[str, HarnessTask]:
        """One task object over the items that the seed gives."""
        return {task.name: harness_task(task, self._documents(task, limit=None, seed=seed))}

    def with_items(self, task: Task, count: int, *, seed: int) -> Task:
        """The task with more items. Raises UserError where there are not so many different ones."""
        if task.items is not None and count <= task.items:
            return task
        documents(task.source, count, version=task.version, seed=seed)
        return task.model_copy(update={"items": count})

    def most(self, task: Task, available: int) -> int | None:
        """How many different items the generator has."""
        return MOST.get(task.source)

    def prompt_lengths(self, task: Task, *, limit: int | None, seed: int) -> Sequence[int] | None:
        """Characters of each request's prompt."""
        return prompt_lengths(self._documents(task, limit=limit, seed=seed))

    @staticmethod
    def _documents(task: Task, *, limit: int | None, seed: int) -> list[Document]:
        assert task.items is not None
        return documents(task.source, min(task.items, limit or task.items), version=task.version, seed=seed)
