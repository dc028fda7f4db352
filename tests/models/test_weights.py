"""Numbers and dtypes of a model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors.torch")

from tests.models.folders import DOWN, WEIGHTS, Make, change, configure, refusal
from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import Stored
from whichbits.models.resolve import resolve
from whichbits.models.weights import refuse_zero_norms


@pytest.mark.parametrize("prefix", ["", "language_model."])
def test_norms_that_are_added_to_one_are_zero_before_any_training(prefix: str, tmp_path: Path) -> None:
    """Others that begin at 1, as of a tower that reads images, are of another stack."""
    own = [f"{prefix}model.layers.{n}.{part}.weight" for n in range(2) for part in ("input_layernorm", "q_norm")]
    own.append(f"{prefix}model.norm.weight")
    tower = [f"vision_tower.encoder.layers.{n}.norm.weight" for n in range(40)]
    stored = {name: Stored("BF16", (8,), 16, tmp_path / WEIGHTS) for name in (*own, *tower)}
    refuse_zero_norms(tmp_path, set(own), stored)
    for name in own:
        with pytest.raises(UserError, match=f"all numbers of {name} are zero, and those of 4 other norms"):
            refuse_zero_norms(tmp_path, {name}, stored)


def test_a_tied_model_with_a_head_of_its_own_is_refused_with_a_remedy_that_helps(make: Make, tmp_path: Path) -> None:
    tied = make(tie_word_embeddings=True)
    same = change(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]}))
    assert resolve(str(same), cache=tmp_path).configuration.tied
    other = change(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}))
    assert "lm_head.weight is stored with other numbers" in refusal(other, tmp_path)
    assert resolve(str(configure(other, tie_word_embeddings=False)), cache=tmp_path).dtype == "bfloat16"


def test_stored_dtypes_against_the_stated_one(make: Make, tmp_path: Path) -> None:
    folder = make()
    plain = resolve(str(folder), cache=tmp_path).bytes
    norms = change(folder, lambda t: t.update({name: t[name].float() for name in t if "norm" in name}))
    assert (resolve(str(norms), cache=tmp_path).dtype, resolve(str(norms), cache=tmp_path).bytes) == ("bfloat16", plain)
    wide = change(folder, lambda t: t.update({name: t[name].float() for name in t}))
    assert (resolve(str(wide), cache=tmp_path).dtype, resolve(str(wide), cache=tmp_path).bytes) == ("bfloat16", plain)
    assert "float32" in refusal(configure(folder, dtype=None), tmp_path)
    narrow = change(folder, lambda t: t.update({name: t[name].half() for name in t}))
    assert resolve(str(narrow), cache=tmp_path).dtype == "float16"
    message = refusal(configure(narrow, dtype="float32"), tmp_path)
    assert "float32" in message and "stored in float16" in message
    assert resolve(str(configure(narrow, dtype="float16")), cache=tmp_path).format.name == "fp16"


def test_float32_that_float16_cannot_hold(make: Make, tmp_path: Path) -> None:
    def widen(tensors: dict[str, Any]) -> None:
        tensors.update({name: tensors[name].float() for name in tensors})
        tensors[DOWN][0, 0] = 70_000

    folder = configure(change(make(), widen), dtype="float16")
    assert f"{DOWN} is stored in float32" in refusal(folder, tmp_path)
    assert resolve(str(configure(folder, dtype="bfloat16")), cache=tmp_path).dtype == "bfloat16"
