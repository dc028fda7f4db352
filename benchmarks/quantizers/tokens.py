"""Token ids that every quantizer is calibrated on, and other windows of the same text that judge what comes out.

The windows for calibration are drawn from the first two thirds of a text. Its last third is the judge's; the middle third,
without the windows drawn, is for development.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Literal

import torch

Part = Literal["all", "held-out", "middle"]

KEYS = ("text", "content", "instruction", "prompt", "canonical_solution", "code", "output", "response", "completion")
"""Fields of a JSON line that are read as its text, in this order."""


def windows(model: Path, text: Path, length: int) -> torch.Tensor:
    """All windows of a text that do not overlap, int64 [windows, length], each after what the tokenizer puts before a text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    start = tokenizer("").input_ids
    ids = tokenizer(read(text, tokenizer), add_special_tokens=False, verbose=False).input_ids
    size = length - len(start)
    body = torch.tensor(ids[: len(ids) // size * size], dtype=torch.int64).reshape(-1, size)
    return torch.cat([torch.tensor(start, dtype=torch.int64).expand(len(body), -1), body], dim=1)


def part(found: torch.Tensor, name: Part, calibration: torch.Tensor) -> torch.Tensor:
    """The windows of a part of the text (the middle or last third, or all of it) that are not in `calibration`."""
    begin, end = {"all": (0, 3), "middle": (1, 2), "held-out": (2, 3)}[name]
    seen = {tuple(row) for row in calibration.tolist()}
    chosen = found[len(found) * begin // 3 : len(found) * end // 3]
    return torch.stack([window for window in chosen if tuple(window.tolist()) not in seen])


def spread(found: torch.Tensor, count: int) -> torch.Tensor:
    """`count` windows at equal distances, or all where there are fewer."""
    chosen = torch.linspace(0, len(found) - 1, min(count, len(found))).round().to(torch.int64)
    return found[chosen]


def draw(found: torch.Tensor, samples: int, seed: int) -> torch.Tensor:
    """`samples` windows drawn without repetition from the first two thirds."""
    own = found[: len(found) * 2 // 3]
    if len(own) < samples:
        raise SystemExit(f"the first two thirds of the text hold {len(own)} windows, and {samples} are asked for")
    return own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))[:samples]]


def random(model: Path, samples: int, length: int) -> torch.Tensor:
    """Windows of tokens drawn uniformly from the vocabulary."""
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    return torch.randint(vocabulary, (samples, length), generator=torch.Generator().manual_seed(0))


def own(model: Path, samples: int, length: int) -> torch.Tensor:
    """Windows of text that the model generates itself, as `whichbits quantize` has it where no data are given."""
    from whichbits.quantization.calibration.data import calibration_data
    from whichbits.quantization.recipe.recipe import Calibration

    return calibration_data(model, Calibration(samples=samples, length=length), seed=0).tokens


def read(path: Path, tokenizer: object) -> str:
    """The text of a file; of JSON lines (`.jsonl`, `.jsonl.gz`) their text fields, or `messages` through the chat template."""
    content = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    if ".jsonl" not in path.suffixes:
        return content
    texts = []
    for line in filter(None, content.splitlines()):
        fields = json.loads(line)
        if "messages" in fields:
            messages = [turn | {"content": _said(turn["content"])} for turn in fields["messages"]]
            texts.append(tokenizer.apply_chat_template(messages, tokenize=False))  # type: ignore[attr-defined]
        else:
            texts.append("\n".join(str(fields[key]) for key in KEYS if fields.get(key)))
    return "\n".join(texts)


def _said(content: str | dict[str, str]) -> str:
    """What a turn says; Arena-Hard's answers are in a field of their own."""
    return content if isinstance(content, str) else content["answer"]


def write(found: torch.Tensor, path: Path) -> None:
    """One line of ids a window."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in found.tolist()))


def written(path: Path) -> torch.Tensor:
    """The windows of a file, int64 [windows, length]."""
    return torch.tensor([json.loads(line) for line in path.read_text().splitlines()])
