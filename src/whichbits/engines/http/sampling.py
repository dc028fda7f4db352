"""Sampling parameters that change nothing, sent with every request.

A server fills in what a request leaves out, from a generation_config.json or from defaults of its own (vLLM without
`--generation-config vllm`, llama.cpp's penalties), and greedy text changes with them.
"""

from __future__ import annotations

from collections.abc import Mapping

STANDARD: Mapping[str, float] = {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "n": 1}
"""Parameters of OpenAI's completions."""

EXTENSIONS: Mapping[str, float] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "repeat_penalty": 1.0}
"""Parameters of vLLM, SGLang and llama.cpp (`repeat_penalty`); a server that knows only its own may refuse them."""
