from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from whichbits.engines.emulation.model import Emulated
from whichbits.engines.errors import EngineError
from whichbits.engines.served_weights import LEAST, Reference, agreement, reference
from whichbits.schema.served_weights import Agreement


@pytest.fixture
def expected(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reference:
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path))
    found = reference(tiny_llama, "tiny", threads=1)
    assert found is not None
    return found


def test_a_model_agrees_with_itself(expected: Reference, tiny_llama: Path):
    assert agreement(Emulated(tiny_llama, threads=1), expected).distance == pytest.approx(0, abs=1e-3)


def test_its_own_type_is_told_from_a_finer_one(expected: Reference, tiny_llama: Path):
    own = agreement(Emulated(tiny_llama, threads=1), expected)
    finer = agreement(Emulated(tiny_llama, threads=1, dtype=torch.float16), expected)
    assert (own.arithmetic, finer.arithmetic) == (None, "finer")
    assert own.from_float32 == pytest.approx(expected.rounding, rel=0.05)
    assert finer.from_float32 is not None
    assert finer.from_float32 < 0.2 * expected.rounding


def test_the_reference_is_computed_once(expected: Reference, tmp_path: Path):
    assert reference(tmp_path / "no folder is looked at", "tiny", threads=1) == expected


def test_a_shift_of_all_log_probabilities_is_beyond_rounding(expected: Reference):
    class Shifted:
        max_length = 64

        def loglikelihood(self, pairs):
            return [(value - 0.5, True) for value in expected.logprobs]

    found = agreement(Shifted(), expected)
    assert found.distance == pytest.approx(0.5)
    assert found.limit is not None
    assert LEAST <= found.limit < 0.5


def test_a_server_without_log_probabilities_is_not_compared(expected: Reference):
    class Silent:
        max_length = 64

        def loglikelihood(self, pairs):
            raise EngineError("no logprobs")

    assert agreement(Silent(), expected) == Agreement(reason="no logprobs")
    Silent.max_length = 8
    assert "8 tokens" in str(agreement(Silent(), expected).reason)
