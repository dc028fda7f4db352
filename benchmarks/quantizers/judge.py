"""How far a checkpoint's next-token distributions are from its base's: one judge for the checkpoints of all tools.

Checkpoints run as the project's emulation runs them: weights decompressed, activations quantized as the kernels do it, and all
arithmetic between the quantizers in float32, for the base as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from from_gptq import is_gptq, to_plain
from safetensors.torch import load_file, save_file
from tokens import write, written
from torch.nn import functional

from whichbits.engines.emulation.model import Emulated

WINDOWS = "windows.jsonl"


def judge(checkpoint: Path, windows: torch.Tensor, base_logits: Path) -> dict[str, Any]:
    """Figures of each window [tokens] of `windows`, means over its positions.

    `kl`: Σ p (log p - log q) over the whole vocabulary in nats, p the base's distribution; `nll`, `base_nll`: negative
    log-likelihood of the token that follows; `agreement`: share of positions where both have the same most likely token.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain"
        if is_gptq(checkpoint):
            to_plain(checkpoint, plain)
        model = Emulated(plain if plain.exists() else checkpoint, threads=torch.get_num_threads(), dtype=torch.float32)
    figures: dict[str, list[float]] = {"kl": [], "nll": [], "base_nll": [], "agreement": []}
    for window, base in zip(windows, logits_of_base(base_logits, len(windows)), strict=True):
        for name, value in compared(base, model.logits(window), window).items():
            figures[name].append(value)
    return figures


@torch.inference_mode()
def compared(base: torch.Tensor, candidate: torch.Tensor, window: torch.Tensor) -> dict[str, float]:
    """The figures of one window from float32 logits [tokens, vocabulary] of both."""
    p, q = functional.log_softmax(base, -1), functional.log_softmax(candidate, -1)
    following = window[1:, None]
    return {
        "kl": float((p.exp() * (p - q)).sum(-1).double().mean()),
        "nll": -float(q[:-1].gather(-1, following).double().mean()),
        "base_nll": -float(p[:-1].gather(-1, following).double().mean()),
        "agreement": float((p.argmax(-1) == q.argmax(-1)).double().mean()),
    }


def keep_base(model: Path, windows: torch.Tensor, folder: Path) -> None:
    """Keep the base's logits of each window, so that it runs once for all checkpoints (vocabulary × 4 bytes a token).

    Raises ValueError where the folder has those of other windows.
    """
    if folder.exists():
        if not torch.equal(written(folder / WINDOWS), windows):
            raise ValueError(f"{folder} has the base's logits of other windows; give this judge another name")
        return
    aside = folder.with_suffix(".aside")
    aside.mkdir(parents=True, exist_ok=True)
    base = Emulated(model, threads=torch.get_num_threads(), dtype=torch.float32)
    for number, window in enumerate(windows):
        save_file({"logits": base.logits(window)}, aside / f"{number:04}.safetensors")
    write(windows, aside / WINDOWS)
    aside.rename(folder)


def logits_of_base(folder: Path, count: int) -> Iterator[torch.Tensor]:
    """The base's logits, window by window."""
    for number in range(count):
        yield load_file(folder / f"{number:04}.safetensors")["logits"]
