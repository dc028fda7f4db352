from __future__ import annotations

import pytest

yaml = pytest.importorskip("yaml")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.output.card import card  # noqa: E402
from whichbits.quantization.output.manifest import GptqVsRtn, Manifest, Used, code_sha256  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

MANIFEST = Manifest(
    versions={},
    base={},
    format=get("w8a8-int"),
    recipe=Recipe(rounding="gptq", seed=7, calibration=Calibration(source="random", samples=4)),
    files={},
    weights=1000,
    bits_per_weight=8.05,
    bytes=2_500_000_000,
    calibration=Used(fingerprint="abc", tokens=2048, warnings=("too few",)),
    gptq_vs_rtn=GptqVsRtn(ratio=0.25, worse={"model.layers.1.mlp.up_proj": 1.5}),
)


def test_a_card_says_what_made_the_checkpoint() -> None:
    text = card(MANIFEST, "owner/model")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == "owner/model"
    assert "2.50 GB" in body and "8.05 bits" in body
    block = body.split("```yaml\n")[1].split("```")[0]
    assert Recipe.model_validate(yaml.safe_load(block)) == MANIFEST.recipe
    assert "whichbits quantize owner/model --format w8a8-int --out DIR --recipe recipe.yaml" in body
    assert "2,048 tokens" in body and "- too few" in body
    assert "0.250 times that of rounding to nearest" in body and "- `model.layers.1.mlp.up_proj`: 1.500 times" in body
    assert "Not measured." in body


def test_what_was_measured_is_a_table() -> None:
    text = card(MANIFEST, "owner/model", [{"task": "a|b", "recovery": "99.0 %"}, {"task": "c", "recovery": "98.0 %"}])
    assert text.endswith("| task | recovery |\n| --- | --- |\n| a\\|b | 99.0 % |\n| c | 98.0 % |\n")
    assert "Not measured" not in text


def test_the_code_has_one_hash() -> None:
    assert len(code_sha256()) == 64
    assert code_sha256() == code_sha256()


def test_a_folder_with_an_odd_name_can_be_copied_from_the_card() -> None:
    text = card(MANIFEST, "/models/my model: #1")
    assert "whichbits quantize '/models/my model: #1' --format" in text
    study = text.split("```yaml\n")[2].split("```")[0]
    assert yaml.safe_load(study)["model"] == "/models/my model: #1"
