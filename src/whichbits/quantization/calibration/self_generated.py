"""Calibration text that the model generates itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from whichbits.quantization.calibration.kept_text import KeptText

CACHE_BYTES = 2 * 2**30
"""Bytes that the keys and values of the samples generated together may take."""

MOST_TOGETHER = 128
"""Samples generated together at most: from here on a processor gains nothing more."""

FLOAT32_BYTES = 4 * 2**30
"""Bytes of a whole model in float32 up to which it runs so, where the processor has no products of 16 bit."""


def self_generated(
    base: Path,
    start: list[int],
    ends: Sequence[int],
    samples: int,
    length: int,
    seed: int,
    on_token: Callable[[int, int], None] | None = None,
    *,
    device: str = "cpu",
    trust_remote_code: bool = False,
    kept: KeptText | None = None,
) -> torch.Tensor:
    """Text that the model in `base` draws from its own distribution, at temperature 1; int64 [samples, length].

    A sample begins with `start`, or else the model's beginning-of-text token, and then a token drawn uniformly, so that samples
    differ in subject. `ends` are the ids that end a text, which no sample does. Nothing else of a generation_config.json is
    used: the text is the model's plain distribution. Sample i is drawn by random numbers of its own, from `seed` and i: it is
    the same among few samples and many, and after an interruption, up to how sums are rounded in other batches.
    Samples that `kept` holds are not generated again; those that are finished are added to it, batch by batch.
    `on_token(done, all)` counts tokens. The model's own Python code runs only where `trust_remote_code` says so.
    Source: LLM-QAT (Liu et al., arXiv 2305.17888), section 3.1.
    """
    import torch

    from whichbits.models.configuration import read_configuration

    found = kept.read(samples) if kept else []
    done, total = len(found) * length, samples * length
    if on_token and done:
        on_token(done, total)
    if len(found) < samples:
        configuration = read_configuration(Path(base), trust_remote_code=trust_remote_code)
        wide = in_float32(base, device)
        together = samples_together(configuration.kv_bytes_per_token * (2 if wide else 1), length)
        model = _model(base, configuration.library, device, wide=wide, trust_remote_code=trust_remote_code)
        for first in range(len(found), samples, together):
            numbers = range(first, min(first + together, samples))
            chances = torch.stack([_chances(seed, number, length) for number in numbers])

            def step(place: int, before: int = first, batch: int = len(numbers)) -> None:
                if on_token:
                    on_token(before * length + batch * place, total)

            found += _batch(model, start, ends, chances, step).tolist()
            if kept:
                kept.write(found)
    return torch.tensor(found[:samples], dtype=torch.int64)


def samples_together(kv_bytes_per_token: int, length: int) -> int:
    """How many samples are generated together: a power of two whose keys and values fit into `CACHE_BYTES`."""
    most = max(1, min(MOST_TOGETHER, CACHE_BYTES // (kv_bytes_per_token * length)))
    return int(2 ** (most.bit_length() - 1))


def in_float32(base: Path, device: str) -> bool:
    """Whether the model runs in float32: on a processor without products of 16 bit, where it is small enough.

    There torch takes longer for 16 bit (`benchmarks/calibration_text.py`). A larger model stays mapped to its files.
    """
    from whichbits.formats.checkpoint.files import shard_files

    return device == "cpu" and float32_is_faster(sum(file.stat().st_size for file in shard_files(Path(base))))


def float32_is_faster(model_bytes: int) -> bool:
    """Whether a model of so many bytes in 16 bit runs in float32 on this processor."""
    from whichbits.models.float32_products import has_bfloat16_products

    return not has_bfloat16_products() and 2 * model_bytes <= FLOAT32_BYTES


def _model(base: Path, config: Any, device: str, *, wide: bool, trust_remote_code: bool) -> Any:
    """The model, ready to generate."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    from whichbits.models.generation import neutral

    model: Any = AutoModelForCausalLM.from_pretrained(
        base,
        config=config,
        trust_remote_code=trust_remote_code,
        generation_config=GenerationConfig(),  # type: ignore[no-untyped-call]
        dtype=torch.float32 if wide else "auto",
    )
    return neutral(model).to(device)


def _chances(seed: int, number: int, length: int) -> torch.Tensor:
    """The random numbers of one sample, uniform in [0, 1); float64 [length]."""
    import torch

    own = int.from_bytes(sha256(f"{seed} {number}".encode()).digest()[:7])
    return torch.rand(length, generator=torch.Generator().manual_seed(own), dtype=torch.float64)


def _batch(
    model: Any, start: Sequence[int], ends: Sequence[int], chances: torch.Tensor, on_place: Callable[[int], None]
) -> torch.Tensor:
    """Samples side by side, int64 [samples, length], drawn by their `chances` [samples, length].

    `on_place(tokens)` is told how many tokens each has.
    """
    import torch

    from whichbits.models.float32_products import float32_products
    from whichbits.models.generation import generation_config
    from whichbits.quantization.calibration.drawing import Drawn, roomy_cache

    text = model.config.get_text_config()
    begin = list(start) or ([] if text.bos_token_id is None else [text.bos_token_id])
    count, length = chances.shape
    head = torch.tensor(begin, dtype=torch.int64).expand(count, -1)
    first = (chances[:, len(begin) : len(begin) + 1] * text.vocab_size).long()
    prompts = torch.cat([head, first], dim=1)[:, :length].to(model.device)
    missing = length - prompts.shape[1]
    if not missing:
        return prompts.cpu()
    cache = roomy_cache(model, length)
    # The draw leaves one token possible, so that the greedy choice is the drawn one.
    with float32_products() if model.device.type == "cpu" else nullcontext():
        generated: torch.Tensor = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            generation_config=generation_config((), max_new_tokens=missing),
            logits_processor=[Drawn(chances.to(model.device), ends, on_place)],
            **({} if cache is None else {"past_key_values": cache}),
        )
    return generated.cpu()
