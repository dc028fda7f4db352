"""Anonymous memory of a pass in a process of its own, by the depth of the model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("numba")

RECIPES = {
    "rtn": {"rounding": "rtn", "scales": "minmax"},
    "balanced": {"effort": "balanced", "calibration": {"source": "random", "samples": 8, "length": 32}},
}
"""The second walks forward, back and forward again, and is compared with the library's own forward before."""

SHALLOW = 6
DEEP = {"rtn": 126, "balanced": 16}
"""Layers, with `rtn` as many as Llama 3.1 405B has.

From some five on what allocators keep no longer grows, but with `rtn` it differs by up to 50 MB from run to run.
"""

QUANTIZE = """
from whichbits.formats.checkpoint import writer
writer.HELD_BYTES = 2**20  # of a shard, less than the shallow model's
from whichbits.cli.app import main
main()
"""

COMPARE = """
import sys
from pathlib import Path
from whichbits.quantization.passes import forward_check
forward_check.LENGTH = 8  # logits of few tokens, so that the matrices make the peak
forward_check.check_agreement(Path(sys.argv[1]))
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory where Linux tells it")


def save(folder: Path, save_tokenizer: Callable[..., int], **sizes: object) -> Path:
    """A random Llama (BF16) whose vocabulary is small unless `sizes` say otherwise."""
    torch.manual_seed(0)
    own = {"vocab_size": save_tokenizer(folder), "num_attention_heads": 4, "max_position_embeddings": 128, "dtype": "bfloat16"}
    config = transformers.LlamaConfig(bos_token_id=0, eos_token_id=1, **own | sizes)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[..., int]) -> Callable[[int], Path]:
    """Folder of a random Llama of so many layers, made once."""

    def make(layers: int) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"llama-{layers}"
        if not folder.exists():
            save(folder, save_tokenizer, hidden_size=512, intermediate_size=1024, num_hidden_layers=layers)
        return folder

    return make


def peak_anonymous(code: str, *arguments: object) -> int:
    """The highest anonymous memory (bytes) that Python, running `code` with one thread, is seen with until it ends."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env={**os.environ, **threads})
    peak = 0
    while process.poll() is None:
        found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(), re.M)
        peak = max(peak, int(found[1]) * 1024 if found else 0)
        time.sleep(0.01)
    assert process.returncode == 0
    return peak


@pytest.mark.parametrize("recipe", [pytest.param("rtn", marks=pytest.mark.nightly), "balanced"])
def test_peak_memory_does_not_grow_with_depth(llama: Callable[[int], Path], recipe: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(RECIPES[recipe]))
    deep = DEEP[recipe]
    peaks = {
        layers: peak_anonymous(
            QUANTIZE, "quantize", llama(layers), "--format", "w4a16-int", "--recipe", file, "--out", tmp_path / f"{layers}"
        )
        for layers in (SHALLOW, deep)
    }
    sizes = {layers: (llama(layers) / "model.safetensors").stat().st_size for layers in (SHALLOW, deep)}
    assert peaks[deep] - peaks[SHALLOW] < 0.4 * (sizes[deep] - sizes[SHALLOW]), "a pass that held the model would grow with it"


def test_the_comparison_with_the_library_holds_one_matrix_of_the_vocabulary(
    tmp_path: Path, save_tokenizer: Callable[..., int]
) -> None:
    """Embeddings and head are not tied; in float64 each takes 192 MiB."""
    sizes = {"hidden_size": 512, "intermediate_size": 64, "num_hidden_layers": 1}
    matrix = 49152 * 512 * 8
    small = peak_anonymous(COMPARE, save(tmp_path / "small", save_tokenizer, **sizes))
    large = peak_anonymous(COMPARE, save(tmp_path / "large", save_tokenizer, **sizes, vocab_size=49152))
    assert matrix < large - small < 1.7 * matrix, (small, large)
