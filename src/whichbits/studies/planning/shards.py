"""Which steps are split into shards, that several places run at once, and into how many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from statistics import fmean

from whichbits.schema.step import Step
from whichbits.studies.planning.plan import Plan
from whichbits.studies.steps.planned import Planned, Whole, client, replica
from whichbits.studies.steps.registry import KINDS, shard_kinds
from whichbits.studies.steps.step import Kind
from whichbits.studies.store.shards import StoredShard, stored_shards
from whichbits.studies.store.store import Store

ROUNDS = 2
"""Shards that each place has to run, about, so that all end about together."""

SHORTEST_S = 60.0
"""A shard loads the model again and makes all prompts again: it should take longer than that."""


@dataclass(frozen=True)
class Splitting:
    """How the steps of a run are split; what is split already stays as it is."""

    kinds: Mapping[str, Kind]
    stored: Sequence[StoredShard]
    """What an earlier run has left: a step that it has begun in shards goes on in as many."""
    seconds: Callable[[Step], float | None]
    """How long a step takes, as far as that is known."""
    stated: int | None = None
    """Shards of every step that can be split; None splits those that would keep others waiting."""

    @classmethod
    def of_store(cls, store: Store, seconds: Callable[[Step], float | None], stated: int | None) -> Splitting:
        """Of steps whose results come into this store; arguments as the fields."""
        return cls(KINDS, stored_shards(store.folder, shard_kinds()), seconds, stated)

    def split(self, steps: Sequence[Planned], places: int) -> tuple[Planned, ...]:
        """The steps, each that is split after its shards; so many `places` run steps, or servers, at once."""
        counts = self._counts(steps, places)
        found: list[Planned] = []
        for planned in steps:
            found += self._shards(planned, counts.get(planned.step.key, 1), places)
        return tuple(found)

    def _counts(self, steps: Sequence[Planned], places: int) -> dict[str, int]:
        """How many shards each step has that can be split, by its key."""
        splitters = self._splitters
        splittable = [planned for planned in steps if planned.step.kind in splitters and not planned.merges]
        whole = [planned.step for planned in splittable if not planned.needs.alone]
        begun = {(one.part.step, one.part.items): one.part.shard.count for one in self.stored}
        wanted = [self.stated] * len(whole) if self.stated is not None else self._wanted(whole, places)
        return {step.key: begun.get((step.key, step.items), count) for step, count in zip(whole, wanted, strict=True)}

    def _wanted(self, steps: Sequence[Step], places: int) -> list[int]:
        """Into how many shards each step would be split, so that none keeps other places waiting."""
        if places == 1:
            return [1] * len(steps)
        seconds = [self.seconds(step) for step in steps]
        known = [each for each in seconds if each is not None]
        # One whose time is not known is taken to be as long as the others are on average.
        average = fmean(known) if known else 1.0
        shares = [average if each is None else each for each in seconds]
        each_place = sum(shares) / places
        found = []
        for each, share in zip(seconds, shares, strict=True):
            most = places if each is None else min(places, int(each // SHORTEST_S))
            found.append(max(1, min(most, math.ceil(share * ROUNDS / each_place))) if each_place else 1)
        return found

    @cached_property
    def _splitters(self) -> dict[str, Callable[[Step, int], tuple[Step, ...]]]:
        return {kind.shards.of: kind.shards.split for kind in self.kinds.values() if kind.shards is not None}

    def _shards(self, planned: Planned, count: int, places: int) -> Iterator[Planned]:
        """The step's shards, each at one of its candidate's servers, and then their merge; or the step alone."""
        shards = self._splitters[planned.step.kind](planned.step, count) if count > 1 else ()
        if len(shards) < 2:
            yield planned
            return
        for number, shard in enumerate(shards):
            servers = tuple(replica(name, number % places) for name in planned.needs.servers)
            needs = replace(planned.needs, servers=servers)
            yield Planned(shard, needs, planned.reads, part_of=Whole(planned.step, len(shards)))
        yield Planned(planned.step, client(), {str(step.labels.shard): step for step in shards}, merges=True)


def for_jobs(plan: Plan, store: Store) -> Plan:
    """The plan for jobs that each run some of its steps and know nothing of each other: what is missing in shards.

    As many as the specification states or an earlier run has begun, since it is not known how many jobs will run at once. So
    every job finds the same shards.
    """
    splitting = Splitting.of_store(store, lambda step: None, plan.specification.executor.shards)
    each = [(one,) if store.done(one.step) else splitting.split((one,), places=1) for one in plan.steps]
    return replace(plan, steps=tuple(chain.from_iterable(each)))
