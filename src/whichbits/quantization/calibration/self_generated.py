"""Calibration text that the model writes itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

AT_A_TIME = 16
"""Samples that the model writes side by side."""


def self_written(
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
) -> torch.Tensor:
    """Text that the model in `base` samples from its own distribution, at temperature 1; int64 [samples, length].

    A sample begins with `start`, or else the model's beginning-of-text token, and then a token drawn uniformly, so that samples
    differ in subject. On the CPU weights are mapped from the checkpoint's files, so they take no memory beside the pass that
    follows; another `device` must hold the whole model meanwhile.
    `on_token(done, all)` counts steps; the model's own Python code runs only where `trust_remote_code` says so.
    `ends` are the ids that end a text, which no sample does. Nothing else of a generation_config.json is used: the text is the
    model's plain distribution.
    Source: LLM-QAT (Liu et al., arXiv 2305.17888), section 3.1.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.generation.streamers import BaseStreamer

    from whichbits.models.configuration import read_configuration
    from whichbits.models.generation import generation_config, neutral

    model: Any = AutoModelForCausalLM.from_pretrained(
        base,
        config=read_configuration(Path(base), trust_remote_code=trust_remote_code).library,
        trust_remote_code=trust_remote_code,
        generation_config=GenerationConfig(),  # type: ignore[no-untyped-call]
    )
    neutral(model).to(device)
    begin = torch.tensor(start or _beginning(model.config), dtype=torch.int64)
    with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):
        torch.manual_seed(seed)
        first = torch.randint(model.config.get_text_config().vocab_size, (samples, 1))
        prompts = torch.cat([begin.expand(samples, -1), first], dim=1)
        missing = length - prompts.shape[1]
        if missing <= 0:
            return prompts[:, :length]
        batches = torch.split(prompts, AT_A_TIME)

        class Counter(BaseStreamer):
            """Counts the calls: one for the prompts of a batch, one for each of its steps."""

            calls = 0

            def put(self, value: torch.Tensor) -> None:
                self.calls += 1
                if on_token:
                    on_token(self.calls, len(batches) * (missing + 1))

            def end(self) -> None:
                pass

        counter = Counter()
        # The end of the text is forbidden, so that every sample has its length.
        plain = generation_config(ends, max_new_tokens=missing, min_new_tokens=missing, temperature=1.0)
        return torch.cat([
            model.generate(
                batch.to(device), attention_mask=torch.ones_like(batch, device=device), generation_config=plain,
                streamer=counter,
            ).cpu()
            for batch in batches
        ])  # fmt: skip


def _beginning(config: Any) -> list[int]:
    beginning = config.get_text_config().bos_token_id
    return [] if beginning is None else [beginning]
