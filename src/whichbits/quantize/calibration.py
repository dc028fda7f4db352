"""Calibration data: the tokens that a model is shown while it is quantized."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.errors import UserError

if TYPE_CHECKING:
    import torch

    from whichbits.quantize.recipe import Calibration, Recipe

FEW_TOKENS = 8192
"""Fewer tokens than this are warned about: a Hessian of 4096 columns has full rank from 4096 on, and is noisy there."""

REPEATED = 0.5
"""Share of all tokens that the commonest one may have before it is warned about (padding, or a file of one line)."""

WRITTEN_AT_A_TIME = 16
"""Samples that the model writes side by side."""


@dataclass(frozen=True)
class CalibrationData:
    """`tokens` int64 [samples, length]; `fingerprint` is the SHA-256 of their bytes; `warnings` say what looks wrong."""

    tokens: torch.Tensor
    fingerprint: str
    warnings: tuple[str, ...]


def calibration_data(base: Path, calibration: Calibration, seed: int) -> CalibrationData:
    """The tokens that `calibration` asks for, for the model in the folder `base`; the same for the same seed.

    Raises UserError where the file cannot be read, is too short, or is not what it is said to be.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    start: list[int] = tokenizer("").input_ids
    generator = torch.Generator().manual_seed(seed)
    match calibration.source:
        case "self":
            tokens = self_written(base, start, calibration.samples, calibration.length, seed)
        case "random":
            ordinary = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
            tokens = random_tokens(ordinary, start, calibration.samples, calibration.length, generator)
        case "text":
            text = _read(calibration).decode("utf-8", errors="strict")
            stream = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
            tokens = windows(stream, start, calibration, generator)
        case "chat":
            conversations = _conversations(_read(calibration), calibration)
            if not tokenizer.chat_template:
                raise UserError(f"{base} has no chat template", remedy="calibrate on text, or on what the model writes itself")
            texts = [tokenizer.apply_chat_template(conversation, tokenize=False) for conversation in conversations]
            stream = [token for ids in tokenizer(texts, add_special_tokens=False).input_ids for token in ids]
            tokens = windows(stream, start, calibration, generator)
    fingerprint = hashlib.sha256(tokens.numpy().astype("<i8").tobytes()).hexdigest()
    return CalibrationData(tokens, fingerprint, warnings(tokens))


def pinned(recipe: Recipe) -> Recipe:
    """The recipe with the SHA-256 of its calibration file. Raises UserError where the file cannot be read or has another."""
    calibration = recipe.calibration
    if not recipe.calibrated or calibration.file is None:
        return recipe
    digest = hashlib.sha256(_read(calibration)).hexdigest()
    return recipe.model_copy(update={"calibration": calibration.model_copy(update={"sha256": digest})})


def windows(stream: list[int], start: list[int], calibration: Calibration, generator: torch.Generator) -> torch.Tensor:
    """Windows that do not overlap, drawn from `stream` without repetition, each after the tokens `start`.

    Returns int64 [samples, length]. Raises UserError where the stream is too short.
    """
    import torch

    size = calibration.length - len(start)
    available = len(stream) // size
    if available < calibration.samples:
        raise UserError(
            f"calibration file {calibration.file} holds {len(stream)} tokens, {available} windows of {calibration.length}, "
            f"and samples asks for {calibration.samples}",
            remedy="give a longer file, or lower samples or length",
        )
    chosen = torch.randperm(available, generator=generator)[: calibration.samples]
    body = torch.tensor(stream[: available * size], dtype=torch.int64).reshape(available, size)[chosen]
    return torch.cat([torch.tensor(start, dtype=torch.int64).expand(len(body), -1), body], dim=1)


def random_tokens(ordinary: list[int], start: list[int], samples: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Tokens drawn uniformly from `ordinary`, each sample after the tokens `start`; int64 [samples, length]."""
    import torch

    drawn = torch.randint(len(ordinary), (samples, length - len(start)), generator=generator)
    body = torch.tensor(ordinary, dtype=torch.int64)[drawn]
    return torch.cat([torch.tensor(start, dtype=torch.int64).expand(samples, -1), body], dim=1)


def self_written(base: Path, start: list[int], samples: int, length: int, seed: int) -> torch.Tensor:
    """Text that the model samples from its own distribution, at temperature 1; int64 [samples, length].

    A sample begins with `start`, or else the model's beginning-of-text token, and then a token drawn uniformly, so that samples
    differ in subject. Source: LLM-QAT (Liu et al., arXiv 2305.17888), section 3.1.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base)
    begin = torch.tensor(start or _beginning(model.config), dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = torch.randint(model.config.get_text_config().vocab_size, (samples, 1))
        prompts = torch.cat([begin.expand(samples, -1), first], dim=1)
        missing = length - prompts.shape[1]
        if missing <= 0:
            return prompts[:, :length]
        # min_new_tokens forbids the end of the text, so that every sample has its length.
        return torch.cat([
            model.generate(
                batch, attention_mask=torch.ones_like(batch), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                max_new_tokens=missing, min_new_tokens=missing,
            )
            for batch in torch.split(prompts, WRITTEN_AT_A_TIME)
        ])  # fmt: skip


def warnings(tokens: torch.Tensor) -> tuple[str, ...]:
    """What looks wrong with calibration `tokens` [samples, length]; empty where nothing does."""
    found = []
    if tokens.numel() < FEW_TOKENS:
        found.append(f"the calibration set has only {tokens.numel()} tokens; from {FEW_TOKENS} on statistics are steadier")
    token, count = Counter(tokens.flatten().tolist()).most_common(1)[0]
    if count > REPEATED * tokens.numel():
        found.append(f"token {token} makes up {count / tokens.numel():.0%} of the calibration set")
    different = len({tuple(sample) for sample in tokens.tolist()})
    if different < len(tokens):
        found.append(f"only {different} of {len(tokens)} calibration samples differ from one another")
    return tuple(found)


def _beginning(config: Any) -> list[int]:
    beginning = config.get_text_config().bos_token_id
    return [] if beginning is None else [beginning]


def _read(calibration: Calibration) -> bytes:
    path = Path(calibration.file or "")
    try:
        content = path.read_bytes()
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"calibration file {path} cannot be read: {error}", remedy="give a readable UTF-8 file") from error
    digest = hashlib.sha256(content).hexdigest()
    if calibration.sha256 not in (None, digest):
        raise UserError(
            f"calibration file {path} has SHA-256 {digest}, not {calibration.sha256}",
            remedy="restore the file that was meant, or leave sha256 out",
        )
    return content


def _conversations(content: bytes, calibration: Calibration) -> list[list[dict[str, str]]]:
    """The `messages` of each line, [{"role", "content"}, ...]."""
    conversations = []
    for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            messages = json.loads(line)["messages"]
            conversations.append([{"role": str(each["role"]), "content": str(each["content"])} for each in messages])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"calibration file {calibration.file}, line {number} is not a conversation",
                remedy='write a line as {"messages": [{"role": "user", "content": "..."}, ...]}',
            ) from error
    return conversations
