"""Generated items: the same from the same seed, of the stated form, and solvable from their text alone."""

from __future__ import annotations

import hashlib
import itertools
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichbits.accuracy.kinds.generated import GENERATORS, MOST, documents
from whichbits.accuracy.registry import expand
from whichbits.core.errors import UserError

TASKS = expand(["generated"])

# A change of these needs a new version in tasks/generated.yaml: stored results would be compared with other items.
GOLDEN = {
    ("choice", 1): "a6dc9b547e2094e6",
    ("copy", 1): "78587a8a0d508306",
    ("needle", 1): "54a05992f429d85a",
    ("order", 1): "33d43aad7ccdc5d1",
    ("recall", 1): "4f60d98f8e863df0",
}


def digest(task) -> str:
    made = documents(task.source, task.items, version=task.version, seed=0)
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_items_are_those_of_their_version(task) -> None:
    assert digest(task) == GOLDEN[task.name, task.version]


def test_there_are_enough_items() -> None:
    assert sum(task.items for task in TASKS) >= 2000
    assert {task.source for task in TASKS} == set(GENERATORS)


@pytest.mark.parametrize("name", GENERATORS)
def test_items_differ_and_a_part_is_a_beginning_of_the_whole(name: str) -> None:
    whole = documents(name, 300, version=1, seed=4)
    assert len({json.dumps(document) for document in whole}) == 300
    assert documents(name, 40, version=1, seed=4) == whole[:40]
    assert documents(name, 40, version=1, seed=5) != whole[:40]
    assert documents(name, 40, version=2, seed=4) != whole[:40]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_answers_follow_from_the_prompts(seed: int) -> None:
    recall, needle, copy, order, choice = (documents(name, 1, version=1, seed=seed)[0] for name in GENERATORS)

    *pairs, asked = [pair.split(": ") for pair in recall["prompt"].rstrip(":").split(", ")]
    assert dict(pairs)[asked[0]] == recall["target"]
    assert len(pairs) == 7 and len(dict(pairs)) == 5
    assert [pair[0] for pair in pairs].count(asked[0]) == 1

    name, code = re.search(r"The code of (\w+) is (\d{3})\.", needle["prompt"]).groups()
    assert needle["prompt"].endswith(f"The code of {name} is") and needle["target"] == code

    first, second = copy["prompt"].split("\n")
    assert f"{second} {copy['target']}" == first

    numbers = [int(number) for number in order["prompt"].rstrip(",").split(", ")]
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    assert len(steps) == 1 and int(order["target"]) == numbers[-1] + steps.pop()

    assert len(set(choice["choices"])) == 4
    assert not set(choice["prompt"].rstrip(",").split(", ")) & set(choice["choices"])


def test_choices_are_right_in_one_way_only() -> None:
    from whichbits.accuracy.kinds.generated import _words

    words = _words()
    kind_of = {
        (row, word): kind for row, kinds in enumerate(words["kin"]) for kind in kinds for word in words["categories"][kind]
    }
    assert len(kind_of) == sum(len(words["categories"][kind]) for kinds in words["kin"] for kind in kinds)
    for document in documents("choice", 400, version=1, seed=0):
        shown = document["prompt"].rstrip(",").split(", ")
        (row,) = {
            row for row in range(len(words["kin"])) if all((row, word) in kind_of for word in [*shown, *document["choices"]])
        }
        kinds = [kind_of[row, word] for word in document["choices"]]
        assert {kind_of[row, word] for word in shown} == {kinds[document["answer"]]}
        assert len(set(kinds)) == 4
    answers = [document["answer"] for document in documents("choice", 400, version=1, seed=0)]
    assert {0, 1, 2, 3} == set(answers) and max(map(answers.count, range(4))) < 140


def test_more_items_than_there_are_is_told() -> None:
    assert len(documents("order", MOST["order"], version=1, seed=3)) == 649
    with pytest.raises(UserError, match="ask for at most 649"):
        documents("order", 650, version=1, seed=3)


@pytest.mark.parametrize("name", sorted(set(GENERATORS) - set(MOST)))
def test_the_others_do_not_run_out(name: str) -> None:
    assert len(documents(name, 20_000, version=1, seed=0)) == 20_000


def test_an_unknown_generator_is_told() -> None:
    with pytest.raises(UserError, match="no generator 'sort'"):
        documents("sort", 1, version=1, seed=0)
