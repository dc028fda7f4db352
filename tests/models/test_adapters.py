"""An adapter is no model, and its tensors are none of a model's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors.torch")

from tests.models.folders import NORM, WEIGHTS, Make, change, refusal

ADAPTERS = (
    "q_proj.vera_lambda_b", "q_proj.ia3_l", "q_proj.oft_R", "q_proj.boft_R", "q_proj.hada_w1_a", "q_proj.lokr_w1",
    "q_proj.fourierft_spectrum", "q_proj.hra_u", "q_proj.lora_magnitude_vector", "q_proj.base_layer.weight",
    "modules_to_save.default.weight", "q_proj.trainable_tokens_delta",
)  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_tensors_of_an_adapter_among_the_weights(name: str, make: Make, tmp_path: Path) -> None:
    folder = make()
    change(folder, lambda tensors: tensors.update({f"model.layers.0.self_attn.{name}": tensors[NORM].clone()}))
    said = refusal(folder, tmp_path)
    assert f"not merged: model.layers.0.self_attn.{name}" in said
    assert "merge_and_unload" in said


@pytest.mark.parametrize(
    ("stated", "whole", "says", "remedy"),
    [
        ('{"peft_type": "VERA"}', True, "holds a whole model and an adapter of kind VERA", "remove adapter_config.json"),
        ("{}", True, "holds a whole model and an adapter (", "remove adapter_config.json"),
        ('{"peft_type": "IA3", "base_model_name_or_path": "o/b"}', False, "is an adapter of kind IA3", "base (o/b) first"),
        ('{"peft_type": "PROMPT_TUNING"}', False, "changes no weight", "give its base model:"),
        ("{", False, "is an adapter (", "merge it into its base first"),
        ("[]", False, "is an adapter (", "merge it into its base first"),
        ('{"peft_type": 7}', False, "is an adapter (", "merge it into its base first"),
    ],
)
def test_an_adapter_is_no_model(stated: str, whole: bool, says: str, remedy: str, make: Make, tmp_path: Path) -> None:
    folder = make()
    if not whole:
        (folder / WEIGHTS).unlink()
    (folder / "adapter_config.json").write_text(stated)
    said = refusal(folder, tmp_path)
    assert says in said
    assert remedy in said
