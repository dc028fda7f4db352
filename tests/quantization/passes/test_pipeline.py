"""Passes backwards and forwards: killed ones go on, and the loss is not asked twice; replicas share the samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("numba")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.model import decoder  # noqa: E402
from whichbits.quantization.passes import calibrated, pipeline  # noqa: E402
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

GPTQ = Recipe(rounding="gptq", calibration=Calibration(source="random", samples=8, length=32))
pytestmark = pytest.mark.usefixtures("one_thread")


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_killed_pass_that_goes_by_the_loss_ends_in_the_same_bytes(block_llama: Path, tmp_path: Path) -> None:
    """It walks from the last layer to the first, for a rotated and an unrotated checkpoint one after the other."""

    def kill(done: int, total: int) -> None:
        if done == 14:  # after one layer of both formats that are not rotated
            raise KeyboardInterrupt

    def targets(folder: str) -> list[Target]:
        recipe = GPTQ.model_copy(update={"propagate_error": False, "fisher_samples": 2, "shrinkage": 0.3, "balancing": 1.0})
        return [
            Target(get("w8a8-int"), recipe, tmp_path / folder / "eight"),
            Target(get("w4a16-int"), recipe, tmp_path / folder / "four"),
            Target(get("w4a16-int"), recipe.model_copy(update={"rotation": True}), tmp_path / folder / "rotated"),
        ]

    quantize_calibrated(block_llama, targets("whole"))
    with pytest.raises(KeyboardInterrupt):
        quantize_calibrated(block_llama, targets("killed"), on_progress=kill)
    assert (tmp_path / "killed" / ".eight.layers" / "layer-00001.safetensors").exists()
    calls: list[tuple[int, int]] = []
    quantize_calibrated(block_llama, targets("killed"), on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(7 * step, 42) for step in range(3, 7)], "the last layer of the first two is not done again"
    for name in ("eight", "four", "rotated"):
        assert files(tmp_path / "whole" / name) == files(tmp_path / "killed" / name)
    assert sorted(entry.name for entry in (tmp_path / "killed").iterdir()) == ["eight", "four", "rotated"]


def test_a_killed_pass_forwards_by_the_loss_ends_in_the_same_bytes_and_does_not_ask_it_again(
    block_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One format goes by the loss forwards, with its error corrected; another is made where the loss is asked."""

    def kill(done: int, total: int) -> None:
        if done == 21:  # after the way back, and one layer forwards
            raise KeyboardInterrupt

    def targets(folder: str, *names: str) -> list[Target]:
        recipe = GPTQ.model_copy(update={"fisher_samples": 2, "shrinkage": 0.3})
        recipes = {
            "forwards": recipe.model_copy(update={"input_error_correction": 0.5, "residual_error_correction": 0.5}),
            "backwards": recipe.model_copy(update={"propagate_error": False}),
        }
        return [Target(get("w4a16-int"), recipes[name], tmp_path / folder / name) for name in names]

    quantize_calibrated(block_llama, targets("whole", "forwards", "backwards"))
    quantize_calibrated(block_llama, targets("alone", "forwards"))
    assert files(tmp_path / "whole" / "forwards") == files(tmp_path / "alone" / "forwards")
    assert files(tmp_path / "whole" / "forwards") != files(tmp_path / "whole" / "backwards")
    (unweighted,) = targets("unweighted", "forwards")
    unweighted = replace(unweighted, recipe=unweighted.recipe.model_copy(update={"fisher_samples": 0}))
    quantize_calibrated(block_llama, [unweighted])
    weights = [file["model.safetensors"] for file in (files(unweighted.out), files(tmp_path / "alone" / "forwards"))]
    assert weights[0] != weights[1], "the loss has its say on the way forwards"

    with pytest.raises(KeyboardInterrupt):
        quantize_calibrated(block_llama, targets("killed", "forwards", "backwards"), on_progress=kill)
    with pytest.raises(KeyboardInterrupt):
        quantize_calibrated(block_llama, targets("once", "forwards"), on_progress=lambda done, total: kill(done + 14, total))
    monkeypatch.setattr(pipeline, "observe_backwards", None)
    quantize_calibrated(block_llama, targets("killed", "forwards", "backwards"))
    quantize_calibrated(block_llama, targets("once", "forwards"))
    for folder, name in (("killed", "forwards"), ("killed", "backwards"), ("once", "forwards")):
        assert files(tmp_path / "whole" / name) == files(tmp_path / folder / name)


def test_replicas_that_take_the_samples_in_turn_make_the_same(
    block_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the CPU stand for two GPUs: sums differ in the order of additions. Another number does not end a pass."""
    monkeypatch.setattr(decoder, "TOKENS_AT_A_TIME", 64)  # four batches

    def targets(folder: str) -> list[Target]:
        recipes = {
            "loss": GPTQ.model_copy(update={"propagate_error": False, "fisher_samples": 1}),
            "shared": GPTQ.model_copy(update={"propagate_error": False}),
            "corrected": GPTQ.model_copy(update={"input_error_correction": 0.5, "residual_error_correction": 0.5}),
            "both": GPTQ.model_copy(
                update={"input_error_correction": 0.5, "residual_error_correction": 0.5, "fisher_samples": 1}
            ),
        }
        return [Target(get("w4a16-int+kv-fp8"), recipe, tmp_path / folder / name) for name, recipe in recipes.items()]

    errors = {}
    for folder, devices in (("one", ("cpu",)), ("two", ("cpu", "cpu"))):
        monkeypatch.setattr(calibrated, "computing_devices", lambda _, devices=devices: devices)
        made = quantize_calibrated(block_llama, targets(folder))
        errors[folder] = [{each.module: each.error for each in own} for _, own in made]
    assert errors["two"] == [pytest.approx(each, rel=0.01) for each in errors["one"]]

    def kill(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_calibrated(block_llama, targets("killed"), on_progress=kill)
    monkeypatch.setattr(calibrated, "computing_devices", lambda _: ("cpu",))
    with pytest.raises(UserError, match=r"interrupted pass with another devices"):
        quantize_calibrated(block_llama, targets("killed"))
