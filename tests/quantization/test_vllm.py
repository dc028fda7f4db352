from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.engines.emulation.model import Emulated  # noqa: E402
from whichbits.engines.http.endpoint import Endpoint  # noqa: E402
from whichbits.engines.vllm.command import find_vllm  # noqa: E402
from whichbits.engines.vllm.server import Server  # noqa: E402
from whichbits.engines.vllm.server_arguments import serving_settings  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.hardware.this_machine import describe  # noqa: E402
from whichbits.models.configuration import read_configuration  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402

CONTEXT, CONTINUATION = list(range(10, 34)), list(range(50, 58))
PAIRS = [(CONTEXT, CONTINUATION), *((list(range(n, n + 24)), list(range(n + 50, n + 58))) for n in (60, 90, 200))]

HERE = describe()
needs_int4 = pytest.mark.skipif(
    not HERE.gpus and "avx512f" not in HERE.instruction_sets,
    reason="vLLM's CPU build has no INT4 kernel for a processor without AVX-512",
)


@torch.no_grad()
def emulated(checkpoint: Path) -> float:
    """Log-likelihood of the continuation in transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    ids = torch.tensor([CONTEXT + CONTINUATION])
    logprobs = model(ids).logits[0, len(CONTEXT) - 1 : -1].to(torch.float32).log_softmax(-1)
    return float(logprobs.gather(1, ids[0, len(CONTEXT) :, None]).sum())


def served(out: Path, logs: Path) -> tuple[list[float], int]:
    """Log-likelihood of each of PAIRS in vLLM, and the number of tokens that it generates after the context."""
    settings = serving_settings(describe(), read_configuration(out).kv_bytes_per_token, max_length=128, max_concurrency=2)
    server = Server(
        find_vllm(), out, arguments=settings.arguments, environment=settings.environment, log=logs / "log.txt",
        registry=logs / "registry",
    )  # fmt: skip
    with server, Endpoint(server.url, server.model, max_length=128, concurrency=1) as model:
        found = model.loglikelihood(PAIRS)
        (generation,) = model.generate([CONTEXT], max_tokens=8)
    return [loglikelihood for loglikelihood, _ in found], generation.tokens


def is_served(out: Path, base: Path, logs: Path) -> None:
    """What vLLM computes from the packed codes is what transformers computes from the unpacked ones."""
    (loglikelihood, *_), tokens = served(out, logs)
    assert tokens > 0
    assert loglikelihood == pytest.approx(emulated(out), rel=0.02)
    assert loglikelihood != pytest.approx(emulated(base), rel=1e-6)


@pytest.mark.server
def test_int8_is_served_by_vllm(block_llama: Path, tmp_path: Path) -> None:
    quantize_checkpoint(block_llama, get("w8a8-int"), Recipe(), tmp_path / "out")
    is_served(tmp_path / "out", block_llama, tmp_path)


@needs_int4
@pytest.mark.server
@pytest.mark.nightly
def test_int4_is_served_by_vllm(block_llama: Path, tmp_path: Path) -> None:
    quantize_checkpoint(block_llama, get("w4a16-int"), Recipe(), tmp_path / "out")
    is_served(tmp_path / "out", block_llama, tmp_path)


@pytest.mark.server
@pytest.mark.parametrize(
    ("family", "name", "layers"),
    [
        pytest.param("Qwen2", "w8a8-int-static", [], marks=pytest.mark.nightly, id="qwen2-static"),
        pytest.param("Mistral", "w4a16-int-asym", [], marks=[needs_int4, pytest.mark.nightly], id="mistral-asymmetric"),
        pytest.param(
            "Llama",
            "w4a16-int+kv-fp8",
            [
                {"match": r"re:model\.layers\.0\.mlp\.down_proj", "format": "w8a8-int"},
                {"match": r"re:model\.layers\.1\.self_attn", "format": "bf16"},
            ],
            marks=[needs_int4, pytest.mark.nightly],
            id="llama-mixed-with-fp8-cache",
        ),
    ],
)
def test_other_families_and_formats_are_served(
    family: str, name: str, layers: list[dict[str, str]], random_base: Callable[[str], Path], tmp_path: Path
) -> None:
    few = {"source": "random", "samples": 4, "length": 24}
    out = tmp_path / "out"
    quantize_checkpoint(random_base(family), get(name), Recipe.model_validate({"calibration": few, "layers": layers}), out)
    loglikelihoods, tokens = served(out, tmp_path)
    assert tokens > 0
    expected = [loglikelihood for loglikelihood, _ in Emulated(out, threads=1).loglikelihood(PAIRS)]
    assert loglikelihoods == pytest.approx(expected, rel=0.03)
