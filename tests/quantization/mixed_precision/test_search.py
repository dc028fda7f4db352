from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("numba")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.mixed_precision.search import choose_formats  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

RECIPE = Recipe(calibration=Calibration(source="random", samples=4, length=16))
NAMES = ["w4a16-int", "w8a8-int"]


@pytest.mark.parametrize("family", ["Phi3", "Mixtral"])
def test_a_budget_for_each_weight_is_kept(family: str, random_base: Callable[[str], Path], tmp_path: Path) -> None:
    base = random_base(family)
    choice = choose_formats(base, NAMES, RECIPE, bits_per_weight=6.5)
    assert {choice.format, *(layer.format for layer in choice.layers)} == set(NAMES)
    recipe = RECIPE.model_copy(update={"layers": choice.layers})
    manifest, _ = quantize_checkpoint(base, get(choice.format), recipe, tmp_path / "out")
    assert 4.5 < manifest.bits_per_weight <= 6.5


def test_an_error_is_kept_with_as_few_bits_as_needed(random_base: Callable[[str], Path]) -> None:
    base = random_base("Phi3")
    options = choose_formats(base, NAMES, RECIPE, bits_per_weight=9).options
    coarse = sum(option.error for option in options if option.format == "w4a16-int")
    assert choose_formats(base, NAMES, RECIPE, error=coarse).layers == ()
    assert choose_formats(base, NAMES, RECIPE, error=coarse / 2).layers != ()
    with pytest.raises(UserError, match="smallest of the formats take"):
        choose_formats(base, NAMES, RECIPE, bits_per_weight=4)
