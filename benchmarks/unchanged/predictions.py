"""A thousand answers of the predictor in full precision. As a program it prints those of the whichbits that it imports."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from command import environment
from names import PREDICTED, PREDICTORS
from place import Place


def asked_of_the_predictor(count: int = 1000) -> Iterator[tuple[str, dict[str, Any]]]:
    """Questions by name. Every list is walked at a stride of its own, so that the combinations spread."""
    models = [
        "meta-llama/Llama-3.1-8B-Instruct", "google/gemma-2-9b-it", "microsoft/phi-4", "openai/gpt-oss-20b",
        "meta-llama/Llama-3.1-70B-Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "ibm-granite/granite-3.1-8b-instruct",
    ]  # fmt: skip
    formats = [
        "bf16",
        "w8a8-int",
        "w8a8-fp",
        "w4a16-int",
        "w4a16-int-channel",
        "w8a8-fp+kv-fp8",
        "nvfp4a16",
        "fp8-block",
        "w4a8-fp",
    ]
    devices = ["A6000", "A100", "H100", "L40S", "L4", "H200", "B200", "MI300X", "RTX 4090", "A10", "H20"]
    counts = [1, 4, 2, 8]
    lengths = [(512, 256), (256, 1024), (1024, 128), (128, 128), (4096, 512), (64, 16)]
    loads: list[dict[str, Any]] = [{"concurrency": c} for c in (1, "max", 8, 64.5)] + [{"rate": 0.25}]
    engines = ["vllm", "vllm==0.12.0", "sglang", "trtllm"]
    for i in range(count):
        (prompt, output), load = lengths[i // 3 % len(lengths)], loads[i // 7 % len(loads)]
        words = (
            models[i % len(models)],
            formats[i // 2 % len(formats)],
            devices[i // 5 % len(devices)],
            counts[i // 11 % 4],
        )
        kind = engines[i // 13 % len(engines)]
        question = dict(zip(("model", "format", "hardware", "count"), words, strict=True))
        question |= {"prompt_tokens": prompt, "output_tokens": output, **load, "engine": kind, "price_per_hour": 2.5}
        yield f"{i}: {words[0].split('/')[1]} {words[1]} {words[3]}x{words[2]} {prompt}/{output} {kind} {load}", question


def predictions() -> dict[str, Any]:
    """Answers in full precision; a question that is refused has none."""
    predict = _predictor()
    found: dict[str, Any] = {}
    for name, question in asked_of_the_predictor():
        try:
            answer = predict(**question)
            found[name] = {key: _plain(getattr(answer, key)) for key in PREDICTED}
        except Exception as error:
            if type(error).__name__ != "UserError":
                raise
            found[name] = {"error": "UserError"}
    return found


def _predictor() -> Callable[..., Any]:
    for name in PREDICTORS:
        try:
            return importlib.import_module(name).predict  # type: ignore[no-any-return]
        except ModuleNotFoundError:
            continue
    raise SystemExit(f"none of {PREDICTORS} is there: name the predictor's module in PREDICTORS")


def _plain(value: Any) -> Any:
    """Mappings and sequences as JSON has them."""
    if hasattr(value, "items"):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def predicted(place: Place) -> Iterator[tuple[str, Any]]:
    """Predictions of the checkout, made in a process that imports it."""
    command = [sys.executable, __file__]
    done = subprocess.run(command, cwd=place.work, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    yield from json.loads(done.stdout).items()


if __name__ == "__main__":
    json.dump(predictions(), sys.stdout)
