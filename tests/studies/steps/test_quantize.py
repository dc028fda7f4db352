"""The step that makes checkpoints, on a tiny model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.quantize import QuantizeInputs, QuantizeLocal

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.passes import shared_pass as passes  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402
from whichbits.schema.step import Step  # noqa: E402
from whichbits.studies.steps.quantize import QUANTIZE, run, together  # noqa: E402
from whichbits.studies.steps.step import Job, Result  # noqa: E402
from whichbits.studies.store.store import Store  # noqa: E402

GPTQ = {"rounding": "gptq", "calibration": {"source": "random", "samples": 4, "length": 16}}
NEAREST = {"scales": "minmax"}


class Quiet:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def progress(self, text: str) -> None:
        self.lines.append(text)

    def server(self, name: str) -> str:
        raise AssertionError(name)


@pytest.fixture
def job(tiny_llama: Path) -> Iterator[Callable[..., Job]]:
    """A job of a store, as the runner makes it; sums in one order, so that the same pass ends in the same bytes."""
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in tiny_llama.glob("*.safetensors")}

    def make(store: Store, name: str, recipe: dict[str, Any]) -> Job:
        inputs = QuantizeInputs(format=get(name), recipe=Recipe.model_validate(recipe), base=hashes)
        step = Step("quantize", 7, inputs, labels=Labels(candidate=name), local=QuantizeLocal(base=tiny_llama))
        return Job(step, store.partial(step), {}, kept=store.kept(step), shared=store.shared)

    before = torch.get_num_threads()
    yield make
    torch.set_num_threads(before)


def results(jobs: Sequence[Job], context: Quiet | None = None) -> dict[str, Result | Exception]:
    one_core = [Job(each.step, each.directory, {}, (), frozenset({0}), each.kept, each.shared) for each in jobs]
    return {done.step.labels.candidate: outcome for done, outcome in run(one_core, context or Quiet())}


def weights(job: Job) -> bytes:
    return (job.directory / "checkpoint" / "model.safetensors").read_bytes()


def test_checkpoints_calibrated_alike_are_made_together(job: Callable[..., Job], tmp_path: Path) -> None:
    steps = [
        job(Store(tmp_path), name, recipe).step
        for name, recipe in [
            ("w8a8-int", GPTQ), ("w4a16-int", {**GPTQ, "damping": 0.1}), ("w8a8-fp", {**GPTQ, "seed": 1}), ("w8a8-fp", NEAREST),
        ]
    ]  # fmt: skip
    works = [together(step) for step in steps]
    assert works[0] == works[1] is not None
    assert works[2] not in (None, works[0])
    assert works[3] is None
    assert QUANTIZE.together is together


@pytest.mark.slow
def test_one_pass_makes_them_in_the_bytes_of_passes_of_their_own(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[int] = []
    original = passes.quantize_calibrated
    monkeypatch.setattr(passes, "quantize_calibrated", lambda *a, **b: texts.append(len(a[1])) or original(*a, **b))
    store = Store(tmp_path / "shared")
    jobs = [job(store, "w8a8-int", GPTQ), job(store, "w4a16-int", GPTQ)]
    made = results(jobs)
    assert texts == [2]
    assert len(list(store.shared.glob("calibration-*.safetensors"))) == 1
    assert made["w8a8-int"].provenance.made_with == ("w4a16-int",)  # type: ignore[union-attr]
    for each in jobs:
        alone = job(Store(tmp_path / f"alone-{each.step.labels.candidate}"), each.step.labels.candidate, GPTQ)
        (outcome,) = results([alone]).values()
        assert isinstance(outcome, Result)
        assert outcome.provenance.made_with is None
        assert weights(alone) == weights(each)


def test_layers_of_a_killed_run_are_not_made_again(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    class Deadly(Quiet):
        def progress(self, text: str) -> None:
            super().progress(text)
            if text == "14 of 28 modules":  # after the first layer of both
                raise Killed

    store = Store(tmp_path / "killed")
    jobs = [job(store, "w8a8-int", GPTQ), job(store, "w4a16-int", GPTQ)]
    with pytest.raises(Killed):
        results(jobs, Deadly())
    with store.locked():  # what the next run sweeps away
        jobs = [job(store, each.step.labels.candidate, GPTQ) for each in jobs]
        store.sweep(each.step for each in jobs)
        context = Quiet()
        made = results(jobs, context)
    assert context.lines == ["21 of 28 modules", "28 of 28 modules"], "only the second layer is left to do"
    whole = Store(tmp_path / "whole")
    again = [job(whole, each.step.labels.candidate, GPTQ) for each in jobs]
    results(again)
    assert [weights(each) for each in jobs] == [weights(each) for each in again]
    for each in jobs:
        outcome = made[each.step.labels.candidate]
        assert isinstance(outcome, Result)
        assert store.kept(each.step).is_dir()
        store.finish(each.step, each.directory, outcome.summary, Provenance())
        assert not store.kept(each.step).exists()


def test_what_one_of_them_cannot_have_leaves_the_others(job: Callable[..., Job], tmp_path: Path) -> None:
    store = Store(tmp_path)
    jobs = [job(store, "w8a8-int", GPTQ), job(store, "w4a16-int", {**GPTQ, "group_size": 96}), job(store, "w8a8-fp", NEAREST)]
    made = results(jobs)
    assert isinstance(made["w4a16-int"], Exception)
    assert isinstance(made["w8a8-int"], Result)
    assert isinstance(made["w8a8-fp"], Result)
