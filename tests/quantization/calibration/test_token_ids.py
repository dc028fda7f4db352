from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from whichbits.core.errors import UserError
from whichbits.quantization.calibration.data import calibration_data
from whichbits.quantization.calibration.token_ids import given_tokens
from whichbits.quantization.recipe.recipe import Calibration

ROWS = [[5, 6, 7], [8, 9, 10], [11, 12, 13]]


def test_given_tokens_are_taken_as_they_are(tiny_llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    for seed in (0, 1):
        data = calibration_data(tiny_llama, Calibration(source="tokens", file=str(file), samples=2, length=3), seed=seed)
        assert data.tokens.tolist() == ROWS[:2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2, 3]", "holds 1 samples, and samples asks for 2"),
        ("[1, 2, 3]\n[1, 2]", "line 2 is not a list of 3 token ids"),
        ("[1, 2, 3]\n[1, 2, 20]", "line 2 is not a list of 3 token ids"),
        ("[1, 2, 3]\n[1, 2, true]", "line 2 is not a list of 3 token ids"),
        ("[1, 2, 3]\nwords", "line 2, text: not JSON"),
        ('[1, 2, 3]\n{"a": 1}', "line 2 is not a list of 3 token ids"),
    ],
)
def test_what_is_no_sample_is_refused(content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        given_tokens(content.encode(), Calibration(source="tokens", file="a", samples=2, length=3), 20)
