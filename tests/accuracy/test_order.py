import pytest

from whichbits.accuracy.order import in_order, order_documents
from whichbits.accuracy.registry import expand

TASK = expand(["generated"])[0]


def ordered(order, name="recall"):
    return TASK.model_copy(update={"order": order, "name": name})


class Documents:
    def __init__(self, documents):
        self.eval_docs = documents


def test_without_an_order_items_are_as_they_come():
    assert in_order([3, 1, 2], ordered(None)) == [3, 1, 2]


def test_an_order_is_random_and_the_same_again():
    things = list(range(100))
    first = in_order(things, ordered(0))
    assert sorted(first) == things != first
    assert in_order(things, ordered(0)) == first
    assert in_order(things, ordered(1)) != first != in_order(things, ordered(0, "copy"))


def test_every_item_is_as_likely_to_come_first():
    first = [in_order(list(range(10)), ordered(seed))[:3] for seed in range(2000)]
    counts = [sum(item in three for three in first) for item in range(10)]
    assert all(counts[item] == pytest.approx(600, abs=90) for item in range(10))


def test_items_of_a_cluster_come_together():
    found = in_order(list(range(60)), ordered(0), lambda item: str(item // 6))
    assert [item // 6 for item in found[::6]] == [item // 6 for item in found[5::6]]
    assert sorted(found) == list(range(60))


def test_a_limit_is_of_all_members_together():
    members = {"a": Documents([{"n": n} for n in range(30)]), "b": Documents([{"n": 100 + n} for n in range(10)])}
    some = order_documents(members, ordered(0), 20)
    few = {name: list(made.doc_iterator(rank=0, limit=None, world_size=1, samples=None)) for name, made in some.items()}
    more = {name: list(made.doc_iterator()) for name, made in order_documents(members, ordered(0), 32).items()}
    assert sorted(number for own in few.values() for number, _ in own) == list(range(20))
    assert all(more[name][: len(own)] == own for name, own in few.items())
    assert list(order_documents(members, ordered(0), 1)) in (["a"], ["b"])
