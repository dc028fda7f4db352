"""From a specification to a plan: every kind of step says which steps a study needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whichbits.studies.planning.plan import Plan, Served
from whichbits.studies.planning.resolve import Resolution
from whichbits.studies.specification.schema import BY_PROBE
from whichbits.studies.steps.planned import Planned
from whichbits.studies.steps.registry import KINDS


@dataclass(frozen=True)
class Expansion(Resolution):
    """The steps of a study."""

    def plan(self) -> Plan:
        """All steps of the study, each after what it reads."""
        served = {
            subject.name: Served(
                subject.name,
                folder=subject.folder,
                made_by=subject.made_by.step if subject.made_by else None,
                url=self.engine.urls.get(subject.name),
            )
            for subject in self.subjects
            if subject.served
        }
        self._check_urls(served)
        steps: list[Planned] = []
        for kind in KINDS.values():
            steps += kind.plan(self, tuple(steps))
        return Plan(self.specification, self.base, tuple(steps), served)

    def probes(self) -> Plan:
        """Only the probes that decide how candidates with `run: auto` or `auto-both` run."""
        undecided = {c.format for c in self.specification.candidates if c.run in BY_PROBE and c.format is not None}
        chosen = tuple(planned for planned in KINDS["probe"].plan(self, ()) if planned.step.labels.format in undecided)
        return Plan(self.specification, self.base, chosen, {})

    def _check_urls(self, served: Mapping[str, Served]) -> None:
        """Where servers are given, every served candidate has one, and every one is a candidate's."""
        engine = self.engine
        missing = [name for name in served if engine.kind == "url" and served[name].url is None]
        if missing:
            raise self.source.error(("engine", "urls"), f"no address for {missing[0]}", f"add `{missing[0]}: http://...`")
        named, known = engine.served_model_name, {*served, self.base}
        unknown = [name for name in ({} if named is None or isinstance(named, str) else named) if name not in known]
        if unknown:
            remedy = f"served here: {', '.join(served)}"
            raise self.source.error(("engine", "served_model_name", unknown[0]), "is no candidate that is served", remedy)
        strange = [name for name in engine.urls if name not in known]
        if strange:
            remedy = f"served here: {', '.join(served)}"
            raise self.source.error(("engine", "urls", strange[0]), "is no candidate that is served", remedy)
