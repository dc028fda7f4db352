"""A study that stops where nothing is left to decide: the looks, what is asked, and going on after it was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

pytest.importorskip("torch")

import whichbits
from whichbits.accuracy.kinds.generated import Generated
from whichbits.core.errors import UserError
from whichbits.schema.evaluate import EvaluateSummary
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Step
from whichbits.studies.execution.progress import name
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.store.manifest import read
from whichbits.studies.store.store import Store
from whichbits.studies.until_decided import most_planned
from whichbits.verdict.verdict import Verdict

TEXT = """\
version: 1
name: small
model: {model}
candidates:
  - {{format: w8a8-int, name: alike, recipe: {{scales: minmax}}, run: emulated}}
  - {{format: w8a8-fp, name: near, recipe: {{scales: minmax}}, run: emulated}}
  - {{format: w4a16-int, name: bad, recipe: {{scales: minmax}}, run: emulated}}
tasks: [{{name: recall, limit: 1000}}, {{name: copy, limit: 2000}}]
margin: 0.03
base_repeats: 1
{more}"""
LOST = {"alike": 0.002, "near": 0.03, "bad": 0.3}
SIZES = {"recall": 1000, "copy": 2000}


class Interrupted(Exception):
    pass


def scores(step: Step) -> np.ndarray[Any, Any]:
    """Of the base right in 70 %; a candidate loses a share of that, item by item."""
    size = SIZES[str(step.labels.task)]
    draw = np.random.default_rng(size).random((2, size))
    right = draw[0] < 0.7
    kept = draw[1] >= LOST.get(step.labels.candidate, 0.0)
    return (right & kept).astype(float)[: int(step.items or 0)]


class Engine:
    """Runs the evaluations of a plan by looking the scores up; counts items asked, and is interrupted after so many steps."""

    def __init__(self, most_steps: int = 10**6, failing: str = "") -> None:
        self.asked: Counter[str] = Counter()
        self.steps = most_steps
        self.failing = failing

    def __call__(self, plan: Any, expansion: Any, store: Store, *, more: Callable[[], Any] | None = None, **_: Any) -> Any:
        states: dict[str, str] = {}
        while plan is not None:
            for planned in plan.missing(store):
                step = planned.step
                if step.kind == "evaluate" and step.labels.candidate == self.failing:
                    store.fail(step, None, "out of memory")
                    states[step.key] = "failed"
                elif step.kind == "evaluate":
                    self.answer(step, store)
            plan = more() if more is not None else None
        return states

    def answer(self, step: Step, store: Store) -> None:
        if self.steps == 0:
            raise Interrupted
        self.steps -= 1
        found, earlier = scores(step), store.earlier(step)
        self.asked[step.labels.candidate] += len(found) - (earlier.items if earlier else 0)
        names = [f"{step.labels.task}-{number}" for number in range(len(found))]
        texts = dict.fromkeys(("item", "prompt_hash", "target_hash", "cluster", "prediction", "target"), names)
        partial = store.partial(step)
        parquet.write_table(pa.table({**texts, "score": found}), partial / "items.parquet")
        summary = EvaluateSummary(
            task=str(step.labels.task), kind="generated", metric="acc", n=len(found), score=float(found.mean()),
            available=SIZES[str(step.labels.task)],
        )  # fmt: skip
        store.finish(step, partial, summary, Provenance(seconds=1.0))


@pytest.fixture
def study(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verdict]:
    def judged(engine: Engine, store: str = "store", more: str = "decide: {looks: 10}", **options: Any) -> Verdict:
        specification = tmp_path / "small.yaml"
        specification.write_text(TEXT.format(model=tiny_llama, more=more))
        monkeypatch.setattr("whichbits.studies.until_decided.run", engine)
        monkeypatch.setattr("whichbits.api.study.run", engine)
        return whichbits.study(specification, store=tmp_path / store, quiet=True, **options).verdict

    return judged


def looks(found: Verdict) -> dict[str, tuple[str, str, int]]:
    return {entry.candidate: (entry.state, entry.looked.stop, entry.looked.items) for entry in found.formats if entry.looked}


def test_each_candidate_goes_as_far_as_it_must_and_the_base_as_far_as_one(study: Callable[..., Verdict]) -> None:
    whole, engine = study(Engine(), "whole", more=""), Engine()
    found = study(engine)
    assert [entry.state for entry in whole.formats] == [entry.state for entry in found.formats]
    assert all(entry.looked is None for entry in whole.formats)
    came = looks(found)
    assert {name: entry[:2] for name, entry in came.items()} == {
        "alike": ("non-inferior", "decided"),
        "near": ("inconclusive", "futile"),
        "bad": ("inferior", "decided"),
    }
    assert came["bad"][2] < came["alike"][2] < 3000
    assert engine.asked == {
        **{name: entry[2] for name, entry in came.items()},
        "bf16": max(entry[2] for entry in came.values()),
    }
    (said,) = (entry for entry in found.caveats if entry.code == "stopped_early")
    assert (said.items, said.all_items) == (engine.asked.total(), 4 * 3000)
    assert {suite.candidate: suite.items for suite in found.suites} == {name: entry[2] for name, entry in came.items()}


def test_a_killed_run_goes_on_where_it_was(study: Callable[..., Verdict], tmp_path: Path) -> None:
    whole = study(Engine(), "whole")
    asked = 0
    for steps in (3, 7, 10**6):
        engine = Engine(most_steps=steps)
        try:
            found = study(engine)
            break
        except Interrupted:
            asked += engine.asked.total()
    assert asked > 0
    assert (looks(found), found.suites) == (looks(whole), whole.suites)
    assert engine.asked.total() + asked == sum(entry[2] for entry in looks(whole).values()) + max(
        entry[2] for entry in looks(whole).values()
    )
    assert read(tmp_path / "store").early_stopping == read(tmp_path / "whole").early_stopping


def test_a_candidate_that_fails_holds_up_no_other(study: Callable[..., Verdict]) -> None:
    came = looks(study(Engine(failing="alike")))
    assert came["alike"][1] == "not_comparable"
    assert came["bad"][:2] == ("inferior", "decided")


def test_without_the_base_nothing_is_decided(study: Callable[..., Verdict]) -> None:
    engine = Engine(failing="bf16")
    found = study(engine)
    assert {entry.state for entry in found.formats[1:]} == {"inconclusive"}
    assert all(count == 0 for name, count in engine.asked.items() if name != "bf16")


def test_a_budget_is_the_most_that_is_asked(study: Callable[..., Verdict], tmp_path: Path) -> None:
    engine = Engine()
    study(engine, more="decide: {looks: 3, budget: 600, futility: 0}", until_decided=True)
    assert engine.asked["near"] == max(engine.asked.values()) == 600
    assert read(tmp_path / "store").command.endswith("--until-decided")


def expansion(model: Path, more: str) -> Expansion:
    return Expansion(*parse(TEXT.format(model=model, more=more), "small.yaml"))


@pytest.mark.parametrize("drawn", [True, False])
def test_keys_change_where_items_need_an_order_alone(drawn: bool, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Generated, "drawn", drawn)
    plain, until = (
        {name(one.step): one.step for one in expansion(tiny_llama, more).plan().steps} for more in ("", "decide: {}")
    )
    assert plain.keys() == until.keys()
    changed = {step for step in plain if plain[step].key != until[step].key}
    assert changed == (set() if drawn else {step for step in plain if step.startswith("evaluate")})
    assert "order" not in plain["evaluate bf16 · recall · emulated"].inputs.model_dump(mode="json")["task"]


def test_a_dry_run_says_the_most_and_what_is_expected(tiny_llama: Path, tmp_path: Path) -> None:
    most, said = most_planned(expansion(tiny_llama, "decide: {}"), Store(tmp_path / "store"))
    assert "with at most 3,000 items. About 1," in said
    assert {one.step.items for one in most.plan().steps if one.step.kind == "evaluate"} == set(SIZES.values())


def test_tasks_that_ask_all_anew_are_refused(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Generated, "ordered", False)
    with pytest.raises(UserError, match="its kind asks all items anew"):
        expansion(tiny_llama, "decide: {}").plan()
