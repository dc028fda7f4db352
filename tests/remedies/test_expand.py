"""Mistakes that show once a specification's names are looked up, before anything runs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse

pytest.importorskip("torch")
pytest.importorskip("transformers")

TEXT = """\
version: 1
name: small
model: {model}
candidates:
  - {{format: w4a16-int, recipe: {{scales: minmax}}}}
tasks: [order]
similarity: {{limit: 4, max_tokens: 8, windows: 2, window_tokens: 32}}
workloads:
  - {{name: mine, prompt_tokens: 32, output_tokens: 8, concurrency: [2]}}
engine: {{kind: url, urls: {{bf16: "http://a", w4a16-int: "http://b"}}}}
max_length: 64
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[..., int]) -> Path:
    """A one-layer Llama of width 128 and a context of 64 tokens, written without torch."""
    folder = tmp_path_factory.mktemp("model")
    configuration = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 128,
        "vocab_size": save_tokenizer(folder), "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": True, "rms_norm_eps": 1e-5,
        "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(configuration))
    layer = "model.layers.0"
    linears = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    norms = ["model.norm", f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm"]
    shapes = {"model.embed_tokens": [configuration["vocab_size"], 128]}
    shapes |= {f"{layer}.{name}": [128, 128] for name in linears} | {name: [128] for name in norms}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[f"{name}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    written = json.dumps(header).encode()
    values = bytes(byte for place in range(end // 2) for byte in (place * 37 % 251, 61))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(written)) + written + values)
    return folder


CASES = {
    # The specification
    "no address for {missing}": [(', w4a16-int: "http://b"', "", ", w4a16-int: http://c")],
    "is no candidate that is served": [
        ('"http://b"', '"http://b", other: "http://c"', '"http://b"'),
        ("kind: url", "kind: url, served_model_name: {other: m}", "kind: url, served_model_name: {w4a16-int: m}"),
    ],
    "leaves no room for a prompt": [
        ("max_tokens: 8", "max_tokens: 64", "max_tokens: 63"),
        ("max_tokens: 8", "max_tokens: 4000", "max_tokens: 9"),
    ],
    "there is no folder {name}": [
        ("limit: 4", "limit: 4, encoder: ./no", "limit: 4, encoder: all-minilm-l6-v2"),
        ("limit: 4", "limit: 4, encoder: ./no", "limit: 4, encoder: org/encoder"),
        ("limit: 4", "limit: 4, bertscore_encoder: ~/no", "limit: 4, bertscore_encoder: /"),
    ],
    "is longer than the model's context": [("window_tokens: 32", "window_tokens: 65", "window_tokens: 64")],
    "does not fit: workloads and tasks need {needed} tokens": [
        ("max_length: 64", "max_length: 65", "max_length: 64"),
        ("max_length: 64", "max_length: 39", "max_length: 40"),
    ],
    "is the base's name": [("{format: w4a16-int", "{name: bf16, format: w4a16-int", "{name: w4a16-int, format: w4a16-int")],
    "format {name} cannot be made": [
        ("format: w4a16-int, recipe: {scales: minmax}", "name: w4a16-int, format: fp16", "name: w4a16-int, format: w8a8-int"),
    ],
    "is the same format, made by the same recipe": [
        (
            "tasks:",
            "  - {name: two, run: emulated, format: w4a16-int, recipe: {scales: minmax}}\ntasks:",
            f"  - {{name: two, run: emulated, format: w4a16-int, recipe: {recipe}}}\ntasks:",
        )
        for recipe in ("{scales: minmax, seed: 1}", "{scales: mse}")
    ],
    "{kind} {twice} is there already": [
        ("[order]", "[order, generated]", "[generated]"),
        (
            "engine:",
            "  - {name: mine, prompt_tokens: 9, output_tokens: 9}\nengine:",
            "  - {name: other, prompt_tokens: 9, output_tokens: 9}\nengine:",
        ),
    ],
    "has no lengths, and there is no workload to take them from": [
        (
            "workloads:\n  - {name: mine, prompt_tokens: 32, output_tokens: 8, concurrency: [2]}",
            "prefill_decode: {}",
            "prefill_decode: {prompt_tokens: [32]}",
        )
    ],
    "needs requests of": [
        ("max_length: 64", "prefill_decode: {prompt_tokens: [16, 64]}", "prefill_decode: {prompt_tokens: [16]}"),
        ("max_length: 64", "prefill_decode: {steps: 64}", "prefill_decode: {steps: 32}"),
    ],
    # What other rooms say, with its place
    "{message}": [
        ("[order]", "[ordre]", "[order]"),
        ("prompt_tokens: 32", "prompt_tokens: 320", "prompt_tokens: 16"),
    ],
}


@pytest.mark.parametrize(("error", "change"), [(error, change) for error, changes in CASES.items() for change in changes])
def test_a_specification(follow: Any, model: Path, error: str, change: tuple[str, str, str]) -> None:
    old, wrong, right = change

    def plan(new: str) -> None:
        text = TEXT.format(model=model)
        assert old in text
        Expansion(*parse(text.replace(old, new, 1), "small.yaml"), ask_servers=False).plan()

    raised = follow(error, mistake=lambda: plan(wrong), remedy=lambda: plan(right))
    assert raised.message.startswith("small.yaml, line ")


def test_a_quantized_base(follow: Any, model: Path, tmp_path: Path) -> None:
    from whichbits.formats.catalogue import get
    from whichbits.quantization.passes.direct import quantize_checkpoint
    from whichbits.quantization.recipe.recipe import Recipe

    made = tmp_path / "made"
    quantize_checkpoint(model, get("w8a8-int"), Recipe(scales="minmax"), made)

    def plan(base: Path, candidate: str, name: str) -> None:
        text = TEXT.format(model=base).replace("{format: w4a16-int, recipe: {scales: minmax}}", candidate)
        Expansion(*parse(text.replace("w4a16-int", name), "small.yaml"), ask_servers=False).plan()

    follow(
        "is quantized already ({name})",
        mistake=lambda: plan(made, "{format: w4a16-int, recipe: {scales: minmax}}", "w4a16-int"),
        remedy=lambda: plan(model, f"{{checkpoint: {made}, name: made}}", "made"),
    )
