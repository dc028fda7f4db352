"""One checkpoint by llm-compressor; run in its own environment (see `environments`).

    PYTHON benchmarks/quantizers/with_llm_compressor.py MODEL TOKENS.jsonl RECIPE OUT

RECIPE is a name of `RECIPES`. Calibrated on the tokens of the file, a sample at a time, with the tool's own defaults.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.modifiers.transform.spinquant import SpinQuantModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

PUBLISHED_MAPPINGS = [
    [["re:.*q_proj", "re:.*k_proj", "re:.*v_proj"], "re:.*input_layernorm"],
    [["re:.*gate_proj", "re:.*up_proj"], "re:.*post_attention_layernorm"],
    [["re:.*down_proj"], "re:.*up_proj"],
]
"""SmoothQuant's mappings in published W8A8 recipes; the tool's default lacks the third."""


def scheme(name: str, *, group_size: int | None = None, observer: str | None = None) -> dict[str, QuantizationScheme]:
    """The tool's preset with another group size or observer of the weights."""
    found = preset_name_to_scheme(name, ["Linear"])
    changed = {"group_size": group_size, "observer": observer}
    found.weights = type(found.weights)(
        **(found.weights.model_dump() | {key: value for key, value in changed.items() if value})
    )
    return {"group_0": found}


def nearest(name: str, **options: Any) -> list[Any]:
    """Round to nearest."""
    return [QuantizationModifier(config_groups=scheme(name, **options), ignore=["lm_head"])]


def gptq(name: str, **options: Any) -> list[Any]:
    """GPTQ with the tool's defaults."""
    return [GPTQModifier(config_groups=scheme(name, **options), ignore=["lm_head"])]


def rotation(block: int | None) -> list[Any]:
    """SpinQuant's rotations that merge into the weights, Hadamard, in blocks where the width is no power of two."""
    return [SpinQuantModifier(rotations=["R1", "R2"], transform_type="hadamard", transform_block_size=block)]


def smoothing() -> list[Any]:
    """SmoothQuant as the published W8A8 recipes have it."""
    return [SmoothQuantModifier(smoothing_strength=0.8, mappings=PUBLISHED_MAPPINGS)]


RECIPES = {
    "w4a16-rtn": lambda group, block: nearest("W4A16", group_size=group),
    "w4a16-gptq": lambda group, block: gptq("W4A16", group_size=group),
    "w4a16-gptq-mse": lambda group, block: gptq("W4A16", group_size=group, observer="mse"),
    "w4a16-spinquant-gptq-mse": lambda group, block: [*rotation(block), *gptq("W4A16", group_size=group, observer="mse")],
    "w8a8-int-smoothquant-gptq-mse": lambda group, block: [*smoothing(), *gptq("W8A8", observer="mse")],
    "w8a8-int-smoothquant-default-gptq-mse": lambda group, block: [
        SmoothQuantModifier(smoothing_strength=0.8), *gptq("W8A8", observer="mse")
    ],
    "w8a8-int-spinquant-gptq-mse": lambda group, block: [*rotation(block), *gptq("W8A8", observer="mse")],
    "w4a8-int-gptq-mse": lambda group, block: gptq("W4A8", group_size=group, observer="mse"),
    "w4a8-int-spinquant-gptq-mse": lambda group, block: [*rotation(block), *gptq("W4A8", group_size=group, observer="mse")],
    "w8a8-fp-rtn": lambda group, block: nearest("FP8_DYNAMIC"),
    "nvfp4a16-rtn": lambda group, block: nearest("NVFP4A16"),
}  # fmt: skip


def power_of_two(width: int) -> int | None:
    """Largest power of two that divides a width, or None where it is one."""
    block = width & -width
    return None if block == width else block


def main() -> None:
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--group-size", type=int, default=64)
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    recipe = RECIPES[given.recipe](given.group_size, power_of_two(model.config.hidden_size))
    tokens = [json.loads(line) for line in given.tokens.read_text().splitlines()]
    data = Dataset.from_dict({"input_ids": tokens, "attention_mask": [[1] * len(row) for row in tokens]})
    calibration = {
        "dataset": data, "num_calibration_samples": len(tokens), "max_seq_length": len(tokens[0]),
        "shuffle_calibration_samples": False,
    }  # fmt: skip
    calibrated = any(isinstance(modifier, GPTQModifier) for modifier in recipe)
    oneshot(model=model, tokenizer=tokenizer, recipe=recipe, **(calibration if calibrated else {}))
    model.save_pretrained(given.out, save_compressed=True)
    tokenizer.save_pretrained(given.out)


if __name__ == "__main__":
    main()
