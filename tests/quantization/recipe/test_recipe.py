from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from whichbits.core.errors import UserError
from whichbits.quantization.recipe.presets import recipe_fields
from whichbits.quantization.recipe.recipe import Calibration, Recipe, parse


def test_a_recipe_writes_what_applies() -> None:
    """A round-to-nearest recipe has the fields that it had before there was calibration, so that its steps keep their keys."""
    plain = {"rounding": "rtn", "scales": "mse", "group_size": None, "seed": 0}
    calibration = {"source": "self", "file": None, "sha256": None, "samples": 128, "length": 512}
    assert Recipe().model_dump(mode="json") == plain
    assert Recipe.model_validate({"smoothing": None}).model_dump(mode="json") == plain
    assert Recipe(scales="activation").model_dump(mode="json") == {
        **plain, "scales": "activation", "propagate_error": True, "smoothing": None, "calibration": calibration,
    }  # fmt: skip
    assert Recipe(rounding="gptq").model_dump(mode="json") == {
        **plain, "rounding": "gptq", "damping": 0.01, "act_order": True, "propagate_error": True, "input_error_correction": 0,
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
        ({"input_error_correction": 1}, "input_error_correction would do nothing"),
        ({"rounding": "gptq", "input_error_correction": 1, "propagate_error": False}, "propagate_error: false leaves out"),
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


def test_the_format_of_a_layer_may_be_an_alias() -> None:
    aliased, named = ({"layers": [{"match": "re:.*down_proj", "format": name}]} for name in ("FP8", "w8a8-fp"))
    assert Recipe.model_validate(aliased) == Recipe.model_validate(named)


def test_calibration_is_written_where_it_is_given() -> None:
    """Round-to-nearest takes it for formats whose activations have scales found on data."""
    recipe = Recipe(calibration=Calibration(source="random"))
    assert not recipe.calibrated
    assert recipe.model_dump(mode="json")["calibration"]["source"] == "random"


def test_a_recipe_file(tmp_path: Path) -> None:
    file = tmp_path / "gptq.yaml"
    file.write_text("rounding: gptq\ndamping: 0.1\ncalibration: {source: random, samples: 8, length: 32}\n")
    recipe = parse(recipe_fields(file))
    assert recipe == Recipe(rounding="gptq", damping=0.1, calibration=Calibration(source="random", samples=8, length=32))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), ("- a\n", "holds no fields"), ("a: [", "is not YAML")]
)
def test_a_bad_recipe_file_is_named(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        recipe_fields(file)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"calibration": {"samples": True}}, r"recipe\.calibration\.samples: .* is true or false"),
        ({"group_size": True}, r"recipe\.group_size: .* is true or false"),
        ({"seed": False}, r"recipe\.seed: .* is true or false"),
        (
            {"scale": 1},
            r"recipe\.scale: .*no such field \(value 1\) → did you mean scales\? the fields there are rounding, scales",
        ),
        (
            {"calibration": {"sample": 1}},
            r"recipe\.calibration\.sample: .*did you mean samples\? the fields there are source, file",
        ),
        ({"layers": [{"match": "a"}]}, r"recipe\.layers\.0\.format: .*the fields there are match, format"),
        ({"rounding": "gtpq"}, r"recipe\.rounding: .*rtn, gptq \(value 'gtpq'\) → correct it"),
        ({"calibration": {"samples": 0}, "rounding": "gptq"}, r"recipe\.calibration\.samples: .* greater than 0"),
        ({"damping": 0.5}, r"recipe: damping would do nothing .*rounding rtn"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(fields)
