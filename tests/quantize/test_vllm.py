from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.engines.command import find_vllm  # noqa: E402
from whichbits.engines.defaults import serving_settings  # noqa: E402
from whichbits.engines.endpoint import Endpoint  # noqa: E402
from whichbits.engines.hardware import describe  # noqa: E402
from whichbits.engines.server import Server  # noqa: E402
from whichbits.formats.format import get  # noqa: E402
from whichbits.quantize.checkpoint import quantize_checkpoint  # noqa: E402
from whichbits.quantize.recipe import Recipe  # noqa: E402

CONTEXT, CONTINUATION = list(range(1000, 1024)), list(range(2000, 2008))


@torch.no_grad()
def emulated(checkpoint: Path) -> float:
    """Log-likelihood of the continuation in transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    ids = torch.tensor([CONTEXT + CONTINUATION])
    logprobs = model(ids).logits[0, len(CONTEXT) - 1 : -1].to(torch.float32).log_softmax(-1)
    return float(logprobs.gather(1, ids[0, len(CONTEXT) :, None]).sum())


@pytest.mark.server
@pytest.mark.parametrize("name", ["w8a8-int", "w4a16-int"], ids=["vllm-w8a8-int", "vllm-w4a16-int"])
def test_a_checkpoint_is_served_by_vllm(name: str, block_llama: Path, tmp_path: Path) -> None:
    """What vLLM computes from the packed codes is what transformers computes from the unpacked ones."""
    out = tmp_path / "out"
    quantize_checkpoint(block_llama, get(name), Recipe(), out)
    config = json.loads((out / "config.json").read_text())
    settings = serving_settings(describe(), config, max_length=128, max_concurrency=2)
    server = Server(
        find_vllm(), out, arguments=settings.arguments, environment=settings.environment, log=tmp_path / "log.txt",
        registry=tmp_path / "registry",
    )  # fmt: skip
    with server, Endpoint(server.url, server.model, max_length=128, concurrency=1) as model:
        ((loglikelihood, _),) = model.loglikelihood([(CONTEXT, CONTINUATION)])
        (generation,) = model.generate([CONTEXT], max_tokens=8)
    assert generation.tokens > 0
    assert loglikelihood == pytest.approx(emulated(out), rel=0.02)
    assert loglikelihood != pytest.approx(emulated(block_llama), rel=1e-6)
