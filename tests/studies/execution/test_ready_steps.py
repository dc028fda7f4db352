"""In which order steps begin, and what that costs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.step import Step
from whichbits.studies.execution.ready_steps import ReadySteps
from whichbits.studies.steps.planned import COMPUTE, Needs, Planned, measurement


class Numbered(Inputs):
    number: int


def planned(number: int, reads: Sequence[Planned] = (), needs: Needs = COMPUTE, together: str = "") -> Planned:
    step = Step("step", 1, Numbered(number=number), labels=Labels(candidate=together))
    return Planned(step, needs, {str(place): one.step for place, one in enumerate(reads)})


def process(one: Planned) -> tuple[str, str] | None:
    return ("step", one.step.labels.candidate) if one.step.labels.candidate else None


def waiting(steps: Sequence[Planned]) -> ReadySteps:
    made = ReadySteps(process, lambda one: 0)
    made.add(steps)
    return made


def test_of_what_is_ready_the_smallest_turn_begins_then_the_first_in_the_plan():
    first, second, third = (planned(number) for number in range(3))
    made = ReadySteps(process, lambda one: int(one is first))
    made.add([first, second, third])
    assert [made.take(idle=False) for _ in range(4)] == [(second,), (third,), (first,), ()]
    assert len(made) == 0


def test_a_step_waits_for_all_that_it_reads_but_not_for_what_another_plan_has_run():
    elsewhere, one, two = (planned(number) for number in range(3))
    last = planned(3, [elsewhere, one, two])
    made = waiting([last, one, two])
    assert [made.take(idle=False) for _ in range(3)] == [(one,), (two,), ()]
    made.ended(one.step)
    assert made.take(idle=False) == ()
    made.ended(two.step)
    assert made.take(idle=False) == (last,)


def test_what_is_added_later_waits_for_what_waits_already():
    one = planned(0)
    made = waiting([one])
    made.add([late := planned(1, [one])])
    assert [made.take(idle=False) for _ in range(2)] == [(one,), ()]
    made.ended(one.step)
    assert made.take(idle=False) == (late,)


def test_ready_steps_of_one_process_begin_together_in_the_order_of_the_plan():
    one, other = planned(0), planned(1)
    late, early, blocked = planned(2, [one], together="a"), planned(3, together="a"), planned(4, [other], together="a")
    made = waiting([one, other, late, early, blocked])
    taken = [made.take(idle=False), made.take(idle=False)]
    made.ended(one.step)
    assert [*taken, made.take(idle=False), made.take(idle=False)] == [(one,), (other,), (late, early), ()]
    made.ended(other.step)
    assert made.take(idle=False) == (blocked,)


def test_what_measures_speed_begins_when_nothing_else_waits_or_runs():
    one = planned(0)
    session = [planned(number, needs=measurement("a"), together="session") for number in (1, 2)]
    made = waiting([*session, one])
    assert made.take(idle=True) == (one,)
    assert made.take(idle=False) == ()
    made.ended(one.step)
    assert made.take(idle=True) == tuple(session)


def test_each_step_of_any_plan_begins_once_after_what_it_reads_at_a_cost_that_does_not_grow():
    """Looking through all that waits at each end was quadratic."""
    draw, steps = random.Random(0), list[Planned]()
    for number in range(3000):
        reads = draw.sample(steps, min(len(steps), draw.randrange(4)))
        steps.append(planned(number, reads, together=draw.choice(["", "", f"group {number // 50}"])))
    calls: Counter[str] = Counter()

    def counted(one: Planned) -> int:
        calls["turn"] += 1
        return 0

    made = ReadySteps(process, counted)
    made.add(steps)
    ended: set[str] = set()
    running: list[Planned] = []
    while made or running:
        while group := made.take(idle=not running):
            for one in group:
                assert {step.key for step in one.reads.values()} <= ended
            running += group
        one = running.pop(draw.randrange(len(running)))
        assert one.step.key not in ended
        ended.add(one.step.key)
        made.ended(one.step)
    assert len(ended) == len(steps)
    assert calls["turn"] == len(steps)
