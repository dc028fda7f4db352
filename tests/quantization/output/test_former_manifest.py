from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from whichbits.formats.catalogue import get
from whichbits.quantization.output.manifest import GptqVsRtn, Manifest
from whichbits.quantization.recipe.recipe import Recipe


def test_a_manifest_of_an_earlier_version_is_read_under_todays_names() -> None:
    recipe = Recipe(rounding="gptq", input_error_correction=0.35, residual_error_correction=0.7, fisher_samples=4)
    manifest = Manifest(
        versions={}, base={}, format=get("w4a16-int"), recipe=recipe, files={}, weights=1, bits_per_weight=4.0, bytes=1,
        gptq_vs_rtn=GptqVsRtn(ratio=0.5, worse={}),
    )  # fmt: skip
    stored = json.loads(manifest.model_dump_json())
    names = {"input_error_correction": "asymmetric", "residual_error_correction": "residual", "fisher_samples": "sensitivity"}
    stored["recipe"] = {names.get(name, name): value for name, value in stored["recipe"].items()}
    stored["beside_nearest"] = stored.pop("gptq_vs_rtn")
    assert Manifest.model_validate_json(json.dumps(stored)) == manifest
