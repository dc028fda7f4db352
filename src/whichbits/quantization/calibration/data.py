"""Calibration data: the tokens that a model is shown while it is quantized."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.models.configuration import library_configuration, read_configuration
from whichbits.models.generation import end_ids
from whichbits.models.tokenization import load_tokenizer, plain_ids, start_ids
from whichbits.quantization.calibration.checks import warnings
from whichbits.quantization.calibration.kept_text import kept_text
from whichbits.quantization.calibration.self_generated import self_generated
from whichbits.quantization.calibration.texts import read_file, texts
from whichbits.quantization.calibration.token_ids import given_tokens

if TYPE_CHECKING:
    import torch

    from whichbits.quantization.recipe.recipe import Calibration, Recipe


@dataclass(frozen=True)
class CalibrationData:
    """`tokens` int64 [samples, length]; `fingerprint` is the SHA-256 of their bytes; `warnings` say what looks wrong."""

    tokens: torch.Tensor
    fingerprint: str
    warnings: tuple[str, ...]


def calibration_data(
    base: Path,
    calibration: Calibration,
    seed: int,
    on_token: Callable[[int, int], None] | None = None,
    *,
    device: str = "cpu",
    trust_remote_code: bool = False,
    base_files: Mapping[str, str] | None = None,
) -> CalibrationData:
    """The tokens that `calibration` asks for, for the model in the folder `base`; the same for the same seed.

    What the model says of text, and what it generates itself, is computed on `device`; `on_token(done, all)` counts the tokens
    that it generates; they are kept for others where `base_files`, the SHA-256 of the model's files, say which model it is.
    Code of the model's own runs only where `trust_remote_code` says so. Raises UserError where a file or data set cannot be
    read, is too short, or is not what it is said to be, or where a sample is longer than the model reads.
    """
    import torch

    configuration = read_configuration(base, trust_remote_code=trust_remote_code)
    _check_length(configuration.max_positions, calibration.length)
    tokenizer = load_tokenizer(base, trust_remote_code=trust_remote_code)
    start, vocabulary = start_ids(tokenizer), min(len(tokenizer), configuration.vocabulary)
    _check_known(start, configuration.vocabulary, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    match calibration.source:
        case "self":
            config = library_configuration(base, trust_remote_code=trust_remote_code)
            ends = end_ids(base, config, tokenizer.eos_token_id)
            kept = kept_text(base_files, calibration.length, seed) if base_files else None
            with kept.locked() if kept else nullcontext():
                tokens = self_generated(
                    base, start, ends, calibration.samples, calibration.length, seed, on_token,
                    device=device, trust_remote_code=trust_remote_code, kept=kept,
                )  # fmt: skip
        case "random":
            ordinary = sorted(set(range(vocabulary)) - set(tokenizer.all_special_ids))
            tokens = random_tokens(ordinary, start, calibration.samples, calibration.length, generator)
        case "tokens":
            tokens = given_tokens(read_file(calibration), calibration, vocabulary)
        case _:
            stream = _token_stream(calibration, tokenizer, seed, start)
            _check_known(stream, configuration.vocabulary, tokenizer)
            tokens = windows(stream, start, calibration, generator)
    fingerprint = hashlib.sha256(tokens.numpy().astype("<i8").tobytes()).hexdigest()
    found = warnings(base, tokenizer, tokens, start, calibration, device=device, trust_remote_code=trust_remote_code)
    return CalibrationData(tokens, fingerprint, found)


def pinned(recipe: Recipe) -> Recipe:
    """The recipe with what identifies its calibration data: a file's or folder's SHA-256, a hub data set's revision.

    Raises UserError where they cannot be had or are not what the recipe says.
    """
    calibration = recipe.calibration
    if calibration.source in ("self", "random"):
        return recipe
    if calibration.source == "dataset":
        from whichbits.quantization.calibration.dataset import pinned_dataset

        return recipe.model_copy(update={"calibration": pinned_dataset(calibration)})
    digest = hashlib.sha256(read_file(calibration)).hexdigest()
    return recipe.model_copy(update={"calibration": calibration.model_copy(update={"sha256": digest})})


def windows(stream: list[int], start: list[int], calibration: Calibration, generator: torch.Generator) -> torch.Tensor:
    """Windows that do not overlap, drawn from `stream` without repetition, each after the tokens `start`.

    Returns int64 [samples, length]. Raises UserError where the stream is too short.
    """
    import torch

    cut = _cut(stream, start, calibration.length)
    if len(cut) < calibration.samples:
        raise UserError(
            f"calibration data {calibration.file or calibration.dataset} hold {len(stream)} tokens, {len(cut)} windows of "
            f"{calibration.length}, and samples asks for {calibration.samples}",
            remedy="give more text, or lower samples or length",
        )
    chosen = torch.randperm(len(cut), generator=generator)[: calibration.samples]
    return torch.tensor(cut, dtype=torch.int64)[chosen]


def _cut(stream: list[int], start: list[int], length: int) -> list[list[int]]:
    """Windows of `length` tokens, one after another; one that begins with `start` already (a template's BOS) gets no second."""
    found: list[list[int]] = []
    place = 0
    while True:
        head = [] if stream[place : place + len(start)] == start else start
        rest = length - len(head)
        if place + rest > len(stream):
            return found
        found.append([*head, *stream[place : place + rest]])
        place += rest


def random_tokens(ordinary: list[int], start: list[int], samples: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Tokens drawn uniformly from `ordinary`, each sample after the tokens `start`; int64 [samples, length]."""
    import torch

    drawn = torch.randint(len(ordinary), (samples, length - len(start)), generator=generator)
    body = torch.tensor(ordinary, dtype=torch.int64)[drawn]
    return torch.cat([torch.tensor(start, dtype=torch.int64).expand(samples, -1), body], dim=1)


def _token_stream(calibration: Calibration, tokenizer: Any, seed: int, start: list[int]) -> list[int]:
    """Tokens of all texts, one after another; of a data set as many as the windows take."""
    fewest = calibration.samples * (calibration.length - len(start))
    # A document ends as it did when the model was trained; what a chat template wrote is complete.
    end = [tokenizer.eos_token_id] if calibration.source == "dataset" and tokenizer.eos_token_id is not None else []
    stream: list[int] = []
    for text, templated in texts(calibration, tokenizer, seed):
        ids = plain_ids(tokenizer, text)
        stream += ids if templated or ids[-1:] == end else ids + end
        enough = calibration.source == "dataset" and len(stream) >= fewest
        if enough and len(_cut(stream, start, calibration.length)) >= calibration.samples:
            break
    return stream


def _check_known(tokens: Sequence[int], vocabulary: int, tokenizer: Any) -> None:
    """Raise UserError where a token is none of the model's: one that was added to its tokenizer alone."""
    highest = max(tokens, default=0)
    if highest >= vocabulary:
        raise UserError(
            f"calibration: token {highest} ({tokenizer.convert_ids_to_tokens(highest)!r:.60}) is beyond the model's vocabulary "
            f"of {vocabulary}: it was added to the tokenizer alone",
            remedy="resize the model's embeddings to its tokenizer (resize_token_embeddings) and save it again, or take the "
            "tokenizer that it was trained with",
        )


def _check_length(longest: int | None, length: int) -> None:
    if longest is not None and length > longest:
        raise UserError(
            f"calibration.length: {length} tokens, and the model reads {longest}", remedy=f"choose a length up to {longest}"
        )
