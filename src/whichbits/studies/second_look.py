"""Speeds looked at a second time: workloads on which one is open after the first rounds are measured in more, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from whichbits.studies import conclusion
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.store.store import Store
from whichbits.studies.study import manifest_of, say
from whichbits.studies.until_decided import plan_after_looks
from whichbits.verdict.looks import open_workloads

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.studies.planning.plan import Plan


@dataclass
class SecondLook:
    """The plan of a study as it stands: after its first rounds, and with more of them where a speed is open."""

    expansion: Expansion
    store: Store
    overrides: Mapping[str, float]
    command: str
    console: Console
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        self.plan = plan_after_looks(self.expansion)

    def next(self) -> Plan | None:
        """The study with more rounds; None where no speed is open, or all rounds that may be are measured."""
        manifest = manifest_of(self.expansion, self.plan, self.overrides, self.command, 0.0)
        if not manifest.looks or self.expansion.open_workloads:
            return None
        undecided = open_workloads(conclusion.judge(manifest, manifest.records(self.store)))
        if not undecided:
            return None
        first, last = manifest.looks
        say(
            f"Open after {first} rounds: the speed of {', '.join(sorted(undecided))}. Measured in {last} rounds.",
            console=self.console,
        )
        self.expansion = replace(self.expansion, open_workloads=undecided)
        self.plan = plan_after_looks(self.expansion)
        return self.plan
