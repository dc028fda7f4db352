from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.quantization.recipe.presets import named_recipes, recipe_fields
from whichbits.quantization.recipe.recipe import parse


@pytest.mark.parametrize("name", sorted(named_recipes()))
def test_a_shipped_recipe_is_one(name: str) -> None:
    parse(recipe_fields(name))


def test_the_papers_recipes_are_as_published() -> None:
    """Settings as the paper and the cards state them, written down apart from the files."""
    int8 = parse(recipe_fields("paper-w8a8-int"))
    assert (int8.rounding, int8.damping, int8.smoothing) == ("gptq", 0.01, None)
    assert (int8.calibration.source, int8.calibration.samples, int8.calibration.length) == ("random", 256, 8192)
    int4 = parse(recipe_fields("paper-w4a16"))
    assert (int4.rounding, int4.scales, int4.group_size) == ("gptq", "mse", 128)
    card = parse(recipe_fields("card-autogptq-w4a16"))
    assert (card.group_size, card.act_order, card.damping, card.calibration.samples) == (128, True, 0.1, 756)
    ablation = [parse(recipe_fields(f"openpangu{row}")) for row in ("", "-smooth", "-hadamard", "-smooth-hadamard")]
    assert {(each.rounding, each.scales) for each in ablation} == {("rtn", "minmax")}
    assert [(each.smoothing is not None, each.rotation) for each in ablation] == [
        (False, False), (True, False), (False, True), (True, True),
    ]  # fmt: skip


def test_a_recipe_may_begin_from_another(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("like: paper-w4a16\ngroup_size: 64\n")
    own, paper = recipe_fields(file), recipe_fields("paper-w4a16")
    assert own == {**paper, "group_size": 64}
    assert recipe_fields({"like": str(file), "damping": 0.2}) == {**paper, "group_size": 64, "damping": 0.2}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("paper-w4a61", "did you mean paper-w4a16"),
        ({"like": 3}, "is no other recipe"),
        ({"like": "nothing"}, "neither a file nor a name"),
        ("missing.yaml", "cannot be read"),
    ],
)
def test_a_recipe_that_there_is_not_is_refused(recipe: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe_fields(recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not YAML"), ("only words", "holds no fields"), ("like: {file}", "is no other recipe")],
)
def test_a_bad_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text.replace("{file}", str(file)))
    with pytest.raises(UserError, match=message):
        recipe_fields(file)
