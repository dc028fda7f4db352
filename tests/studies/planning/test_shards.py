"""Which steps are split, and into how many shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.studies.execution.fake_study import Given
from whichbits.schema.labels import Labels
from whichbits.schema.shard import PartOf, Shard
from whichbits.schema.step import Step
from whichbits.studies.planning.shards import SHORTEST_S, Splitting
from whichbits.studies.steps.planned import COMPUTE, Needs, Planned, client, measurement
from whichbits.studies.steps.step import Job, Kind, Result, Shards, StepContext
from whichbits.studies.steps.study import Study
from whichbits.studies.store.shards import StoredShard


def unplanned(study: Study, before: Sequence[Planned]) -> Iterator[Planned]:
    return iter(())


def nothing(jobs: Sequence[Job], context: StepContext) -> Iterator[tuple[Job, Result]]:
    return iter(())


def split(step: Step, count: int) -> tuple[Step, ...]:
    labels = [step.labels.model_copy(update={"shard": f"{number + 1} of {count}"}) for number in range(count)]
    return tuple(Step("part", 1, Given(of=step.key, part=one.shard), labels=one) for one in labels)


KINDS = {
    "long": Kind("long", 1, unplanned, nothing),
    "part": Kind("part", 1, unplanned, nothing, shards=Shards("long", split, nothing)),
    "other": Kind("other", 1, unplanned, nothing),
}


def planned(name: str, needs: Needs = COMPUTE, kind: str = "long") -> Planned:
    return Planned(Step(kind, 1, Given(name=name), labels=Labels(candidate=name)), needs)


def counts(
    seconds: Mapping[str, float | None], places: int, *, stated: int | None = None, stored: Sequence[StoredShard] = ()
) -> list[int]:
    """Shards of steps of these names that take so long; 1 where one is not split."""
    steps = [planned(name) for name in seconds]
    found = Splitting(KINDS, stored, lambda step: seconds[step.labels.candidate], stated).split(steps, places)
    return [sum(one.part_of is not None and one.part_of.step is each.step for one in found) or 1 for each in steps]


HOUR = 3600.0


@pytest.mark.parametrize(
    ("seconds", "places", "expected"),
    [
        ({"a": HOUR}, 1, [1]),
        ({"a": HOUR}, 10, [10]),
        ({"a": None}, 10, [10]),
        ({"a": HOUR, "b": HOUR}, 4, [4, 4]),
        (dict.fromkeys("abcdefgh", HOUR), 4, [1] * 8),
        (dict.fromkeys("abcdefgh"), 4, [1] * 8),
        ({"a": HOUR, **dict.fromkeys("bcdefgh", 300.0)}, 4, [4, *[1] * 7]),
        ({"a": HOUR, "b": None}, 4, [4, 4]),
        ({"a": 10 * HOUR, "b": 60.0, **dict.fromkeys("cdef")}, 4, [3, 1, 2, 2, 2, 2]),
        ({"a": SHORTEST_S, "b": None}, 4, [1, 4]),
        ({"a": 3 * SHORTEST_S}, 10, [3]),
        ({"a": SHORTEST_S}, 10, [1]),
        ({"a": 0.0}, 10, [1]),
    ],
)
def test_what_would_keep_others_waiting_is_split(seconds: dict[str, float | None], places: int, expected: list[int]) -> None:
    assert counts(seconds, places) == expected


def test_how_long_steps_take_is_not_asked_where_it_decides_nothing() -> None:
    def refuse(step: Step) -> float | None:
        raise AssertionError("asked")

    steps = [planned("a"), planned("b")]
    assert list(Splitting(KINDS, (), refuse).split(steps, 1)) == steps
    assert len(Splitting(KINDS, (), refuse, stated=3).split(steps, 10)) == 2 * 4


def test_as_many_as_are_stated_or_as_an_earlier_run_has_begun() -> None:
    assert counts({"a": 1.0, "b": HOUR}, 1, stated=3) == [3, 3]
    assert counts({"a": HOUR}, 10, stated=1) == [1]
    part = PartOf(step=planned("a").step.key, shard=Shard(index=4, count=7))
    assert counts({"a": HOUR, "b": HOUR}, 10, stored=[StoredShard("part", "k", part)]) == [7, 10]


def test_a_step_comes_after_its_shards_and_reads_them_alone() -> None:
    made = planned("checkpoint", kind="other")
    whole = Planned(planned("a").step, client("a", requests=4), {"checkpoint": made.step})
    *shards, merge = Splitting(KINDS, (), lambda step: HOUR).split([whole], 2)
    assert [one.step.labels.shard for one in shards] == ["1 of 2", "2 of 2"]
    assert [one.needs for one in shards] == [client("a", requests=4), client("a#2", requests=4)]
    assert all(one.reads == whole.reads and one.part_of is not None and one.part_of.shards == 2 for one in shards)
    assert (merge.step, merge.merges, merge.needs) == (whole.step, True, client())
    assert list(merge.reads.values()) == [one.step for one in shards]
    assert Splitting(KINDS, (), lambda step: HOUR, stated=3).split([*shards, merge], 2) == (*shards, merge), "split already"


def test_measurements_and_kinds_without_shards_stay_whole() -> None:
    steps = (planned("a", measurement("a")), planned("b", kind="other"))
    assert Splitting(KINDS, (), lambda step: HOUR, stated=5).split(steps, 10) == steps
