"""A study whose speeds are open at a look is measured further: round by round, what is open alone, while its budget lasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import whichbits
from whichbits.schema.provenance import Provenance
from whichbits.schema.serve import CapacityRun, LoadLevelSummary, Metrics, ServeInputs, ServeSummary
from whichbits.schema.step import Record, Step
from whichbits.schema.workload import Loads
from whichbits.studies import conclusion
from whichbits.studies.planning.plan import Plan
from whichbits.studies.planning.resolve import Resolution
from whichbits.studies.store.store import Store
from whichbits.verdict.looks import OpenSpeed

TEXT = """\
version: 1
name: small
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: served}}
  - {{format: w4a16-int, recipe: {{scales: minmax}}, run: served}}
workloads: [{{name: mine, prompt_tokens: 32, output_tokens: 8, concurrency: [2, 4]}}]
engine: {{kind: url, urls: {{bf16: "http://a", w8a8-int: "http://b", w4a16-int: "http://c"}}}}
max_length: 256
rounds: 2
{more}"""

ROUND_S = 100.0
MANY = OpenSpeed("mine", "asynchronous", ("w8a8-int",), Loads(in_flight=(4,)))
ALONE = OpenSpeed("mine", "synchronous", ("w8a8-int", "w4a16-int"), Loads(in_flight=(1,)))


@dataclass
class Ran:
    """What was measured, by run: candidate, round, loads."""

    runs: list[list[tuple[str, int, tuple[int, ...]]]] = field(default_factory=list)
    looks: list[tuple[int, ...]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)


@pytest.fixture
def ran(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """A study in which every step of a round takes its share of `ROUND_S`."""
    found = Ran()

    def run(plan: Plan, *arguments: object, **options: object) -> dict[str, str]:
        steps = [one.step for one in plan.steps if one.step.kind == "serve"]
        found.runs.append([_measured(step) for step in steps])
        found.done.update(step.key for step in steps)
        found.steps += steps
        return {}

    def judge(manifest: Any, records: object) -> str:
        found.looks.append(manifest.looks)
        return "verdict"

    def record(store: Store, step: Step) -> Record:
        return Record(step.key, step.kind, step.labels, "done", tmp_path, provenance=Provenance(seconds=ROUND_S / 3))

    monkeypatch.setattr(Resolution, "servers", {})
    monkeypatch.setattr("whichbits.api.study.run", run)
    monkeypatch.setattr(conclusion, "judge", judge)
    monkeypatch.setattr(conclusion, "write", lambda *arguments: SimpleNamespace(html=tmp_path / "report.html"))
    monkeypatch.setattr(conclusion, "serve_commands", lambda *arguments: {})
    monkeypatch.setattr(Store, "done", lambda store, step: step.key in found.done)
    monkeypatch.setattr(Store, "record", record)
    return found


def _measured(step: Step) -> tuple[str, int, tuple[int, ...]]:
    workload = step.inputs.workload  # type: ignore[attr-defined]
    return step.labels.candidate, step.labels.repeat, workload.concurrency


def study(tmp_path: Path, model: Path, more: str, at_looks: Sequence[tuple[OpenSpeed, ...]], patch: pytest.MonkeyPatch) -> None:
    answers = iter(at_looks)
    patch.setattr("whichbits.studies.more_rounds.open_speeds", lambda verdict: next(answers))
    specification = tmp_path / "small.yaml"
    specification.write_text(TEXT.format(model=model, more=more))
    whichbits.study(specification, store=tmp_path / "store", quiet=True)


def test_what_is_open_alone_is_measured_round_by_round_until_it_is_decided(
    ran: Ran, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(tmp_path, tiny_llama, "most_rounds: 7", [(MANY, ALONE), (MANY,), ()], monkeypatch)
    first, *further = ran.runs
    assert sorted(first) == sorted((name, repeat, (2, 4)) for name in ("bf16", "w8a8-int", "w4a16-int") for repeat in (0, 1))
    both = [("w8a8-int", (1, 4)), ("w4a16-int", (1,))]
    assert [sorted(run) for run in further[:2]] == [sorted((name, at, loads) for name, loads in both) for at in (2, 3)]
    assert further[2:] == [[("w8a8-int", at, (4,))] for at in (4, 5, 6)], "to the last look, which is not asked"
    assert ran.looks == [(2, 4, 7)] * 3


def test_nothing_more_is_measured_where_all_is_decided_or_no_more_is_wanted(
    ran: Ran, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(tmp_path, tiny_llama, "most_rounds: 7", [()], monkeypatch)
    assert len(ran.runs) == 1
    study(tmp_path, tiny_llama, "", [], monkeypatch)
    assert len(ran.runs) == 1 + 1
    assert ran.looks[-1] == (), "one look widens nothing"


@pytest.mark.parametrize(("budget", "rounds"), [("290 s", 2), ("310 s", 5), ("6 min", 6)])
def test_no_round_is_begun_that_would_end_beyond_the_budget(
    budget: str, rounds: int, ran: Ran, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first two rounds take 200 s, those of one candidate a third; each is expected to take as long as the last."""
    study(tmp_path, tiny_llama, f"speed_budget: {budget}", [(MANY,)] * 3, monkeypatch)
    assert len(ran.runs) == 1 + rounds - 2


def searched(*rates: float) -> tuple[LoadLevelSummary, ...]:
    """Runs that looked for a capacity."""
    metrics = Metrics(requests_per_second=1.0, output_tokens_per_second=1.0)
    runs = (CapacityRun(rate=rate, worst=0.5) for rate in rates)
    fields = {"load_level": "capacity run 1", "concurrency": None, "valid": True, "metrics": metrics}
    return tuple(LoadLevelSummary(**fields, capacity_run=run) for run in runs)


def test_a_search_for_the_capacity_goes_on_from_all_rounds_before(
    ran: Ran, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(store: Store, step: Step) -> Record:
        at = step.labels.repeat
        base, own = searched(20.0 + at), searched(*(() if step.labels.candidate == "bf16" else (10.0 + at, 11.5 + at)))
        summary = ServeSummary(session="s", load_levels=own or base, base_load_levels=base)
        return Record(step.key, step.kind, step.labels, "done", tmp_path, summary, Provenance(seconds=1.0))

    monkeypatch.setattr(Store, "record", record)
    open_ = OpenSpeed("mine", "capacity", ("w8a8-int",), Loads(capacity=True))
    study(tmp_path, tiny_llama, "most_rounds: 4", [(open_, MANY)], monkeypatch)
    further = [step.inputs_as(ServeInputs) for step in ran.steps if step.labels.repeat >= 2]
    assert [one.workload.concurrency for one in further] == [(4,), (4,)]
    found = [one.earlier for one in further if one.earlier is not None]
    assert [[run.rate for run in one.candidate] for one in found] == [[10, 11.5, 11, 12.5], [10, 11.5, 11, 12.5, 12, 13.5]]
    assert [[run.rate for run in one.base] for one in found] == [[20, 21], [20, 21, 22]], "each once, whoever holds a copy"


def test_rounds_end_where_nothing_answers(ran: Ran, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "done", lambda store, step: step.labels.repeat < 3)
    study(tmp_path, tiny_llama, "most_rounds: 16", [(MANY,)], monkeypatch)
    assert [round for run in ran.runs[1:] for _, round, _ in run] == [3], "the third is there, and the fourth has failed"
