"""A step with more items keeps what an earlier result found, and asks for the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from whichbits.schema.evaluate import EvaluateItem
from whichbits.schema.step import Record
from whichbits.studies.conclusion import kind_seconds
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.steps.evaluate import EVALUATE
from whichbits.studies.steps.shared.items import read_items, write_items
from whichbits.studies.steps.step import Job
from whichbits.studies.store.store import Store

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

TEXT = """\
version: 1
name: s
model: {model}
candidates: [{{format: w8a8-int, run: emulated}}]
tasks: [{{name: choice, limit: {limit}}}]
"""


class Context:
    def progress(self, text: str) -> None: ...
    def server(self, name: str) -> str:
        raise AssertionError("nothing is served")


def run(store: Store, model: Path, limit: int) -> Record:
    """Run the base's step with so many items, as the runner does."""
    plan = Expansion(*parse(TEXT.format(model=model, limit=limit), "s.yaml")).plan()
    step = next(p.step for p in plan.steps if p.step.kind == "evaluate" and not p.step.reads)
    job = Job(step, store.partial(step), {}, earlier=store.earlier(step))
    ((_, result),) = EVALUATE.run([job], Context())
    assert not isinstance(result, Exception)
    store.finish(step, job.directory, result.summary, result.provenance.model_copy(update={"seconds": float(limit)}))
    return store.record(step)


@pytest.mark.slow
def test_the_first_items_are_those_of_the_earlier_result(tiny_llama: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "grown")
    whole, some = run(Store(tmp_path / "whole"), tiny_llama, 6), run(store, tiny_llama, 4)
    marked = [replace(row, prediction=f"{row.prediction} (kept)") for row in read_items(some.directory, EvaluateItem)]
    write_items(some.directory, marked)
    grown = run(store, tiny_llama, 6)
    rows = read_items(grown.directory, EvaluateItem)
    assert rows[:4] == marked
    assert [row.prompt_hash for row in rows] == [row.prompt_hash for row in read_items(whole.directory, EvaluateItem)]
    same = ("n", "chance", "available", "most", "prompt_tokens", "generated_tokens", "source_version")
    assert [getattr(grown.summary, name) for name in same] == [getattr(whole.summary, name) for name in same]
    assert (grown.provenance.earlier_items, some.provenance.earlier_items) == (4, None)
    assert (grown.provenance.all_seconds, some.provenance.all_seconds) == (10, 4)
    assert kind_seconds([grown]) == {"evaluate": 10}
