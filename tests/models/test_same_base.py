"""A candidate's arithmetic and words are the base's, or it is refused by what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from whichbits.core.errors import UserError
from whichbits.models.resolve import resolve
from whichbits.models.same_base import refuse_another_model

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10000.0}
MIXTURE = {"num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2, "head_dim": 8}


@pytest.mark.parametrize(
    ("family", "fields", "other", "named"),
    [
        ("Llama", {}, {"rope_parameters": YARN}, "rope_parameters.rope_type"),
        ("Llama", {"rope_parameters": YARN}, {"rope_parameters": {**YARN, "factor": 8.0}}, "rope_parameters.factor"),
        ("Llama", {}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "rope_parameters.rope_theta"),
        ("Gemma3Text", {"sliding_window": 16}, {"sliding_window": 32}, "sliding_window"),
        ("Gemma3Text", {}, {"layer_types": ["full_attention"] * 2}, "layer_types"),
        ("GPTNeoX", {"rotary_pct": 0.5}, {"use_parallel_residual": False}, "use_parallel_residual"),
        ("Qwen3Moe", MIXTURE, {"norm_topk_prob": True}, "norm_topk_prob"),
        ("Qwen3Moe", MIXTURE, {"num_experts_per_tok": 1}, "num_experts_per_tok"),
    ],
)  # fmt: skip
def test_other_arithmetic_is_another_model(
    family: str, fields: dict[str, Any], other: dict[str, Any], named: str, make: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make(family, **fields)
    base = resolve(str(folder), cache=tmp_path)
    refuse_another_model(base, base)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | other))
    with pytest.raises(UserError, match=f"its {re.escape(named)} is "):
        refuse_another_model(base, resolve(str(folder), cache=tmp_path))
