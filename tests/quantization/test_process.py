"""A calibrated pass as a process: the same bytes after a kill, and for the same seed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("numba")

RECIPE = {"rounding": "gptq", "calibration": {"source": "random", "samples": 8, "length": 32}}


def random_llama(folder: Path, vocabulary: int, *, width: int, intermediate: int, layers: int) -> Path:
    """Folder of a random Llama (BF16)."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, dtype="bfloat16",
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def quantizing(base: Path, out: Path, seed: int = 0) -> subprocess.Popen[bytes]:
    """`whichbits quantize` of a calibrated recipe in a process of its own, one thread."""
    recipe = out.with_suffix(".yaml")
    recipe.write_text(json.dumps(RECIPE))
    code = "from whichbits.cli.app import main; main()"
    arguments = ["quantize", base, "--format", "w4a16-int", "--out", out, "--recipe", recipe, "--seed", str(seed)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env={**os.environ, **threads})


def made(base: Path, out: Path, seed: int = 0) -> dict[str, bytes]:
    """The files of a checkpoint that is made to its end."""
    assert quantizing(base, out, seed).wait() == 0
    return {file.name: file.read_bytes() for file in (out / "w4a16-int").iterdir()}


def test_a_killed_process_goes_on_and_ends_in_the_same_bytes_and_the_seed_decides_them(
    save_tokenizer: Callable[..., int], tmp_path: Path
) -> None:
    base = random_llama(tmp_path / "base", save_tokenizer(tmp_path / "base"), width=256, intermediate=512, layers=6)
    whole = made(base, tmp_path / "whole")
    process = quantizing(base, tmp_path / "killed")
    kept = tmp_path / "killed" / ".w4a16-int.layers"
    while not (kept / "layer-00002.safetensors").exists():
        assert process.poll() is None, "the pass ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "w4a16-int").exists()
    assert not (kept / "layer-00005.safetensors").exists(), "killed in the middle of the pass"
    assert made(base, tmp_path / "killed") == whole
    assert not kept.exists()
    assert made(base, tmp_path / "other", seed=1)["model.safetensors"] != whole["model.safetensors"]
