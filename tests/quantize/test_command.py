from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("numba")

from whichbits import api  # noqa: E402
from whichbits.errors import UserError  # noqa: E402
from whichbits.quantize.manifest import Manifest  # noqa: E402


def test_a_calibrated_recipe_makes_every_format_in_one_pass(block_llama: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "gptq.yaml"
    recipe.write_text(
        "rounding: gptq\nsmoothing: 0.5\ngroup_size: 64\nseed: 4\ncalibration: {source: random, samples: 4, length: 16}\n"
    )
    rows = api.quantize(str(block_llama), ["w8a8-int", "w4a16-int"], tmp_path / "out", recipe=recipe)
    assert [row["format"] for row in rows] == ["w8a8-int", "w4a16-int"]
    assert all("only 64 tokens" in row["warnings"] for row in rows)
    manifests = [Manifest.model_validate_json((Path(row["folder"]) / "manifest.json").read_text()) for row in rows]
    assert [manifest.recipe.group_size for manifest in manifests] == [None, 64]
    assert {manifest.recipe.seed for manifest in manifests} == {4}
    assert {manifest.recipe.smoothing for manifest in manifests} == {0.5}


def test_round_to_nearest_needs_no_recipe(block_llama: Path, tmp_path: Path) -> None:
    rows = api.quantize(str(block_llama), ["w8a8-fp", "w4a16-int"], tmp_path / "out", scales="minmax", group_size=32)
    assert [sorted(row) for row in rows] == [
        ["bits_per_weight", "folder", "format", "mean_error", "megabytes", "worst_module"]
    ] * 2
    assert rows[1]["bits_per_weight"] == pytest.approx(4.5, abs=0.01)


def test_a_scale_search_that_there_is_not_is_refused(block_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe\.scales"):
        api.quantize(str(block_llama), ["w8a8-fp"], tmp_path / "out", scales="best")
