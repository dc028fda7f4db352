from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from whichbits.quantize.recipe import Calibration, Recipe


def test_a_recipe_writes_what_applies() -> None:
    """A round-to-nearest recipe has the fields that it had before there was calibration, so that its cells keep their keys."""
    plain = {"rounding": "rtn", "scales": "mse", "group_size": None, "seed": 0}
    calibration = {"source": "self", "file": None, "sha256": None, "samples": 128, "length": 512}
    assert Recipe().model_dump(mode="json") == plain
    assert Recipe.model_validate({"smoothing": None}).model_dump(mode="json") == plain
    assert Recipe(scales="activation").model_dump(mode="json") == {
        **plain, "scales": "activation", "propagate_error": True, "smoothing": None, "calibration": calibration,
    }  # fmt: skip
    assert Recipe(rounding="gptq").model_dump(mode="json") == {
        **plain, "rounding": "gptq", "damping": 0.01, "act_order": True, "propagate_error": True,
        "smoothing": None, "calibration": calibration,
    }  # fmt: skip


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(rounding="gptq", damping=0.1), Recipe(scales="activation", seed=3)])
def test_what_is_written_is_read_again(recipe: Recipe) -> None:
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"damping": 0.1}, "damping would do nothing"),
        ({"scales": "activation", "act_order": False}, "act_order would do nothing"),
        ({"calibration": {"source": "random"}}, "calibration would do nothing"),
        ({"rounding": "gptq", "smoothing": 1.5}, "less than or equal to 1"),
        ({"rounding": "gptq", "damping": 0}, "greater than 0"),
        ({"rounding": "gptq", "calibration": {"source": "text"}}, "needs a file"),
        ({"rounding": "gptq", "calibration": {"file": "a.txt"}}, "takes no file"),
        ({"rounding": "gptq", "calibration": {"sha256": "0"}}, "no file is given"),
    ],
)
def test_what_does_nothing_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(fields)


def test_calibration_is_128_samples_that_the_model_writes() -> None:
    assert Calibration().source == "self"
    assert Recipe(rounding="gptq").calibration.samples == 128
