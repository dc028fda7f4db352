from __future__ import annotations

import pytest

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import get, load
from whichbits.quantization.recipe.effort import recipe_for


@pytest.mark.parametrize("effort", ["fast", "balanced", "best"])
@pytest.mark.parametrize("name", [name for name, format in load().items() if not format.is_base])
def test_every_format_has_a_recipe_at_every_effort(name: str, effort: str) -> None:
    recipe = recipe_for(get(name), effort, {"seed": 3})
    assert recipe.seed == 3
    assert recipe.calibrated == (recipe.rounding == "gptq")


def test_explicit_fields_go_before() -> None:
    recipe = recipe_for(get("w4a16-int"), "balanced", {"scales": "mse", "fisher_samples": 0, "damping": 0.1})
    assert (recipe.rounding, recipe.scales, recipe.fisher_samples, recipe.damping) == ("gptq", "mse", 0, 0.1)
    assert recipe_for(get("w4a16-int"), "best", {"rounding": "rtn"}).scales == "mse"


def test_fp8_is_rounded_to_nearest_where_time_is_short() -> None:
    assert [recipe_for(get("w8a8-fp"), effort, {}).rounding for effort in ("fast", "balanced")] == ["rtn", "gptq"]


@pytest.mark.parametrize("name", [name for name, format in load().items() if not format.is_base])
def test_at_fast_all_formats_share_the_bases_activations(name: str) -> None:
    recipe = recipe_for(get(name), "fast", {})
    assert not (recipe.propagates or recipe.fisher_samples)


def test_the_loss_is_asked_where_it_helps() -> None:
    rotated = {name: recipe_for(get(name), "balanced", {"rotation": True}).fisher_samples for name in ("w8a8-int", "w4a16-int")}
    assert rotated == {"w8a8-int": 0, "w4a16-int": 1}
    assert recipe_for(get("w8a8-int"), "balanced", {}).fisher_samples == 1
    assert recipe_for(get("w4a16-int"), "balanced", {"propagate_error": True}).fisher_samples == 1


def test_best_corrects_for_the_error_of_earlier_layers_unless_it_is_told_not_to() -> None:
    recipe = recipe_for(get("nvfp4a16"), "best", {})
    assert recipe.propagates and recipe.fisher_samples == 4
    assert recipe.input_error_correction and recipe.residual_error_correction
    assert not recipe_for(get("w4a16-int"), "best", {"propagate_error": False}).corrects
    assert recipe_for(get("w4a16-int"), "best", {"residual_error_correction": 0.25}).residual_error_correction == 0.25
    for name, effort in (("w4a16-int", "balanced"), ("w8a8-int", "best")):
        assert not recipe_for(get(name), effort, {}).corrects
        recipe = recipe_for(get(name), effort, {"residual_error_correction": 0.25})
        assert recipe.propagates and recipe.residual_error_correction == 0.25


def test_unknown_efforts_are_refused() -> None:
    with pytest.raises(UserError, match="effort 'quick' is not known"):
        recipe_for(get("w4a16-int"), "quick", {})
