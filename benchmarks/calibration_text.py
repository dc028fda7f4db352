"""How fast a model generates the text that it is calibrated on, beside plain sampling with transformers.

    python benchmarks/calibration_text.py [--model FOLDER-OR-NAME] [--samples 64] [--length 128] [--threads 2]

The plain way: 16 samples at a time, in the checkpoint's own 16 bit, with the library's cache, which is copied for each token.
Both ways are measured twice, one after the other in turn. Tokens a second are of processor time on the CPU, so that other
programs on the machine count little, and of the clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from whichbits.models.generation import generation_config, neutral
from whichbits.models.resolve import resolve
from whichbits.quantization.calibration.self_generated import self_generated

TOGETHER = 16
"""Samples side by side in the plain way."""


def plainly(model: Path, samples: int, length: int) -> None:
    """Sample with the library alone, until each text has its length."""
    from transformers import AutoModelForCausalLM

    loaded = neutral(AutoModelForCausalLM.from_pretrained(model, dtype="auto"))
    vocabulary = loaded.config.get_text_config().vocab_size
    prompts = torch.cat([torch.ones(samples, 1, dtype=torch.int64), torch.randint(vocabulary, (samples, 1))], dim=1)
    chosen = generation_config([2], max_new_tokens=length - 2, min_new_tokens=length - 2, temperature=1.0)
    for batch in torch.split(prompts, TOGETHER):
        loaded.generate(batch, attention_mask=torch.ones_like(batch), generation_config=chosen)


def rates(work: Callable[[], object], tokens: int) -> tuple[float, float]:
    """Tokens a second, of processor time and of the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return tokens / (time.process_time() - processor), tokens / (time.perf_counter() - clock)


def main() -> None:
    """Print the rates and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, tokens = resolve(given.model).path, given.samples * given.length
    ways: dict[str, Callable[[], object]] = {
        "plainly": lambda: plainly(model, given.samples, given.length),
        "whichbits": lambda: self_generated(model, [1], [2], given.samples, given.length, seed=0),
    }
    best: dict[str, tuple[float, float]] = dict.fromkeys(ways, (0.0, 0.0))
    for _ in range(2):
        for name, work in ways.items():
            found = rates(work, tokens)
            print(f"{name:10} {found[0]:8.1f} tokens a second of processor time, {found[1]:8.1f} of the clock", flush=True)
            best[name] = max(best[name], found)
    print(f"ratio of the better ones: {best['whichbits'][0] / best['plainly'][0]:.2f} of processor time")


if __name__ == "__main__":
    main()
