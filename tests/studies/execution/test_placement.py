"""Which work runs beside which, and how long all of it takes."""

import pytest

from tests.studies.execution.fake_study import Given
from whichbits.schema.step import Step
from whichbits.studies.execution.placement import Machine, Part
from whichbits.studies.steps.planned import COMPUTE, Needs, Planned, client, measurement

CPU = Machine(frozenset({0}), frozenset({1, 2}))
GPU = Machine(frozenset({0}), frozenset({1, 2}), accelerator=True)


def steps(*each: tuple[Needs, float]) -> list[tuple[Planned, float]]:
    """Steps of these needs, none of which reads another, and how long each takes."""
    return [(Planned(Step("add", 1, Given(value=n)), needs), seconds) for n, (needs, seconds) in enumerate(each)]


def test_what_asks_a_server_leaves_cores_to_what_computes():
    (asking,) = CPU.placements(client("a"))
    assert (asking.parts, asking.cpus) == ({Part.DEVICE}, {0})
    larger, smaller = CPU.placements(COMPUTE)
    assert (larger.parts, larger.cpus) == ({Part.DEVICE}, {1, 2})
    assert (smaller.parts, smaller.cpus) == ({Part.CORES}, {0})
    assert CPU.turn(client("a")) < CPU.turn(COMPUTE)


def test_of_parts_as_large_as_each_other_what_computes_leaves_the_servers():
    first, _ = Machine(frozenset({0}), frozenset({1})).placements(COMPUTE)
    assert first.parts == {Part.CORES}


def test_where_nothing_serves_what_computes_has_the_machine():
    (only,) = Machine(serves=False).placements(COMPUTE)
    assert (only.parts, only.cpus) == (set(Part), None)
    assert Machine(serves=False).seconds(steps((COMPUTE, 10.0), (COMPUTE, 10.0))) == 20


def test_an_accelerator_serves_or_computes():
    (computing,), (asking,) = GPU.placements(COMPUTE), GPU.placements(client("a"))
    assert computing.parts & asking.parts
    assert GPU.turn(COMPUTE) < GPU.turn(client("a")), "a server holds its memory"


@pytest.mark.parametrize("machine", [CPU, GPU])
def test_a_measurement_has_the_machine_for_itself(machine: Machine):
    (alone,) = machine.placements(measurement("a", "b"))
    assert alone.parts == set(Part)


def test_seconds_of_work_side_by_side():
    work = steps((COMPUTE, 10.0), (COMPUTE, 10.0), (client("a"), 6.0), (measurement("a"), 5.0))
    assert CPU.seconds(work) == 5 + (20 + 6) / 2
    assert CPU.seconds(steps((client("a"), 30.0), (COMPUTE, 10.0))) == 30
    assert GPU.seconds(work) == 31
    assert CPU.seconds([]) == 0


def test_seconds_on_several_machines_are_no_fewer_than_those_of_the_longest_chain():
    one = Machine(serves=False)
    work = steps(*[(COMPUTE, 10.0)] * 8, (measurement("a"), 5.0))
    assert [one.seconds(work, places) for places in (1, 4, 100)] == [85, 25, 15]
    made, scored = work[0][0], Step("add", 1, Given(value=9))
    chained = [*work, (Planned(scored, COMPUTE, {"made": made.step}), 30.0)]
    assert one.seconds(chained, 4) == 45
    assert one.seconds(chained, 2) == 60
