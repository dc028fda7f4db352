"""Activations are quantized as vLLM's operation for CPUs quantizes them, to the last bit of codes and scales."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

SCRIPT = """
import json
import torch
from vllm import _custom_ops as ops
from whichbits.engines.emulation.linear import quantize_tokens
from whichbits.formats.grid.integer import Integer

draw = torch.Generator().manual_seed(0)
tokens = torch.randn(2000, 576, generator=draw) * 2.0 ** torch.randint(-20, 20, (2000, 1), generator=draw)
tokens[::3, 7] *= 500                                          # a massive channel
halves = torch.randint(-254, 255, (500, 576), generator=draw) / 2
halves[:, 0] = 127                                             # a scale of 1, and codes that lie between two
found = []
for x in (tokens.bfloat16(), halves.bfloat16()):
    codes, scales, _ = ops.onednn_scaled_int8_quant(x)
    ours = quantize_tokens(x, Integer(8), dtype=torch.int8)
    found.append([int((codes != ours.codes).sum()), int((scales.view(-1) != ours.scale.view(-1)).sum())])
print(json.dumps(found))
"""


@pytest.mark.server
def test_activations_are_quantized_as_vllm_does() -> None:
    """Of random tokens with a massive channel and of codes half-way between two: no code and no scale differs."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not in this environment")
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout.splitlines()[-1]) == [[0, 0], [0, 0]]
