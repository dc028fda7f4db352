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

RANDOM = {"calibration": {"source": "random", "samples": 8, "length": 32}}
RECIPES = {
    "rtn": {"rounding": "rtn", "scales": "minmax"},
    "fast": {"effort": "fast", **RANDOM},
    "balanced": {"effort": "balanced", **RANDOM},
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Callable[[int], Path]:
    """Folder of a random Llama (BF16) of so many layers, made once."""

    def make(layers: int) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"llama-{layers}"
        if not folder.exists():
            torch.manual_seed(0)
            config = transformers.LlamaConfig(
                vocab_size=49152, hidden_size=320, intermediate_size=1024, num_hidden_layers=layers, num_attention_heads=4,
                num_key_value_heads=4, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
                dtype="bfloat16",
            )  # fmt: skip
            transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
            transformers.AutoTokenizer.from_pretrained(embedded_model).save_pretrained(folder)
        return folder

    return make


def peak_anonymous(base: Path, recipe: dict[str, object], out: Path) -> int:
    """The highest anonymous memory (bytes) that `whichbits quantize`, one thread, is seen with until it ends."""
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps(recipe))
    code = "from whichbits.cli import main; main()"
    arguments = ["quantize", base, "--format", "w4a16-int", "--out", out, "--recipe", file]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env={**os.environ, **threads})
    peak = 0
    while process.poll() is None:
        found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(), re.M)
        peak = max(peak, int(found[1]) * 1024 if found else 0)
        time.sleep(0.01)
    assert process.returncode == 0
    return peak


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory where Linux tells it")
@pytest.mark.parametrize("recipe", RECIPES)
def test_peak_memory_does_not_grow_with_depth(llama: Callable[[int], Path], recipe: str, tmp_path: Path) -> None:
    peaks = {layers: peak_anonymous(llama(layers), RECIPES[recipe], tmp_path / f"out-{layers}") for layers in (12, 48)}
    sizes = {layers: (llama(layers) / "model.safetensors").stat().st_size for layers in (12, 48)}
    assert sizes[48] - sizes[12] > 0.15 * peaks[12], "a pass that held the whole model would be seen"
    assert peaks[48] < 1.15 * peaks[12], peaks
