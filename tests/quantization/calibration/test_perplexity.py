from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.quantization.calibration.perplexity import negative_log_likelihood  # noqa: E402


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Granite"])
def test_likelihoods_are_those_of_transformers(random_base: Callable[[str], Path], family: str) -> None:
    """Gemma 2 caps its logits, Granite scales them."""
    base = random_base(family)
    tokens = torch.randint(5, 256, (3, 12), generator=torch.Generator().manual_seed(0))
    found = negative_log_likelihood(base, tokens)
    with torch.no_grad():
        logits = transformers.AutoModelForCausalLM.from_pretrained(base)(tokens).logits[:, :-1].float()
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    assert found.shape == (3, 11)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
