"""The passes on a GPU beside the CPU's; all of it is skipped where there is no CUDA device."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.effort import recipe_for  # noqa: E402
from whichbits.quantization.recipe.recipe import parse  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

RANDOM = {"source": "random", "samples": 4, "length": 32}
RECIPES = {
    "rtn": {"rounding": "rtn"},
    "fast": {"effort": "fast", "calibration": RANDOM},
    "balanced": {"effort": "balanced", "calibration": RANDOM},
    "rotated": {"effort": "balanced", "rotation": True, "calibration": RANDOM},
    "propagated": {"rounding": "gptq", "input_error_correction": 0.5, "calibration": RANDOM},
    "awq": {"awq": True, "calibration": RANDOM},
    "smoothed": {"rounding": "gptq", "smoothing": 0.5, "calibration": RANDOM},
}


@pytest.mark.parametrize("format", ["w4a16-int", "w4a16-int-asym", "w8a8-int-static", "w8a8-fp", "nvfp4"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpu_makes_as_small_errors_as_the_cpu(block_llama: Path, tmp_path: Path, name: str, format: str) -> None:
    fields = dict(RECIPES[name])
    effort = fields.pop("effort", None)
    recipe = recipe_for(get(format), effort, fields) if effort else parse(fields)
    errors = {}
    for device in ("cpu", "cuda"):
        _, made = quantize_checkpoint(block_llama, get(format), recipe, tmp_path / device, device=device)
        errors[device] = {each.module: each.error for each in made}
    assert errors["cuda"] == pytest.approx(errors["cpu"], rel=0.02)
