"""What looks wrong with calibration data, said as warnings: nothing here changes them."""

from __future__ import annotations

import codecs
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.models.configuration import read_configuration
from whichbits.quantization.calibration.texts import read_file

if TYPE_CHECKING:
    import torch

    from whichbits.quantization.recipe.recipe import Calibration

FEW_TOKENS = 8192
"""Fewer tokens than this are warned about: a Hessian of 4096 columns has full rank from 4096 on, and is noisy there."""

REPEATED = 0.5
"""Share of all tokens that the commonest one may have before it is warned about (padding, or a file of one line)."""

BITS_PER_BYTE = 1.5
"""What text may cost the base before it is called foreign. English costs SmolLM2-135M 0.9, French 1.9, Finnish more."""

WITHOUT_START = 0.3
"""Nats a token by which the base may predict a text better after its beginning-of-text token than without."""

VOCABULARY_SHARE = 0.05
"""Share of the vocabulary's words from which on a script is one of the base's own."""

TEXT_SHARE = 0.001
"""Share of the calibration text's letters below which a script is missing."""

JUDGED_SAMPLES, JUDGED_TOKENS = 4, 256
"""How much of the calibration set the base is asked about."""


def warnings(
    base: Path,
    tokenizer: Any,
    tokens: torch.Tensor,
    start: list[int],
    calibration: Calibration,
    *,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> tuple[str, ...]:
    """What looks wrong with calibration `tokens` int64 [samples, length] for the model in `base`; empty where nothing does.

    `start` is what the tokenizer puts before a text. The base is asked about texts only: random tokens are far from its own
    on purpose, and what it writes itself is not.
    """
    found = list(count_warnings(tokens))
    if calibration.source not in ("text", "chat", "dataset"):
        return tuple(found)
    found += untemplated(tokenizer.decode(tokens[0]), calibration)
    if calibration.source == "text":
        found += json_syntax(read_file(calibration))
    found += missing_scripts(vocabulary_scripts(tokenizer), script_shares(tokenizer.batch_decode(tokens)))
    from whichbits.quantization.calibration.perplexity import negative_log_likelihood

    nats = partial(negative_log_likelihood, base, device=device, trust_remote_code=trust_remote_code)
    beginning = read_configuration(base, trust_remote_code=trust_remote_code).beginning
    return (*found, *base_warnings(nats, tokenizer, tokens, start, beginning))


def count_warnings(tokens: torch.Tensor) -> Iterator[str]:
    """Too few tokens, one token too often, samples that repeat."""
    if tokens.numel() < FEW_TOKENS:
        yield f"the calibration set has only {tokens.numel()} tokens; from {FEW_TOKENS} on statistics are steadier"
    token, count = Counter(tokens.flatten().tolist()).most_common(1)[0]
    if count > REPEATED * tokens.numel():
        yield f"token {token} makes up {count / tokens.numel():.0%} of the calibration set"
    different = len({tuple(sample) for sample in tokens.tolist()})
    if different < len(tokens):
        yield f"only {different} of {len(tokens)} calibration samples differ from one another"


def untemplated(text: str, calibration: Calibration) -> Iterator[str]:
    """Conversations in JSON that have not gone through the chat template."""
    if calibration.source != "chat" and any('"role"' in line and '"content"' in line for line in text.split("\n")):
        yield "the calibration text looks like conversations in JSON: with source chat they go through the chat template"


def json_syntax(content: bytes) -> Iterator[str]:
    """A file of JSON that is taken as a text."""
    if re.match(rb'\s*[\[{]\s*([\[{]\s*)?"', content.removeprefix(codecs.BOM_UTF8)):
        yield "the calibration text is JSON: its braces, quotes and field names are calibrated on as they stand"


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Share of all letters in `texts` that each script has (LATIN, CYRILLIC, CJK, ...: first word of the letter's name)."""
    letters = Counter(letter for text in texts for letter in text if letter.isalpha())
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "OTHER").split()[0]] += count
    total = sum(scripts.values())
    return {script: count / total for script, count in scripts.items()}


def vocabulary_scripts(tokenizer: Any) -> dict[str, float]:
    """Share of the tokens with letters that each script has."""
    words = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    scripts = Counter(
        unicodedata.name(first, "OTHER").split()[0]
        for first in (next((letter for letter in word if letter.isalpha()), None) for word in words)
        if first is not None
    )
    total = sum(scripts.values())
    return {script: count / total for script, count in scripts.items()}


def missing_scripts(vocabulary: dict[str, float], text: dict[str, float]) -> Iterator[str]:
    """Scripts that make up much of the vocabulary and are missing from the text."""
    for script, share in sorted(vocabulary.items(), key=lambda entry: -entry[1]):
        if share >= VOCABULARY_SHARE and text.get(script, 0.0) < TEXT_SHARE:
            yield (
                f"{share:.0%} of the vocabulary is in {script.title()} script, and the calibration text has none: "
                "the model is not calibrated for those languages"
            )


def base_warnings(
    nats: Callable[[torch.Tensor], torch.Tensor], tokenizer: Any, tokens: torch.Tensor, start: list[int], beginning: int | None
) -> Iterator[str]:
    """What the base itself says of some of the `tokens`: foreign text, or a missing beginning-of-text token.

    `nats` gives the negative log-likelihoods [samples, length - 1] of tokens [samples, length]; `beginning` is the token that
    the base's configuration names, if any.
    """
    import torch

    judged = tokens[:: math.ceil(len(tokens) / JUDGED_SAMPLES), :JUDGED_TOKENS]
    plain = nats(judged)
    size = sum(len(text.encode()) for text in tokenizer.batch_decode(judged[:, 1:]))
    bits_per_byte = float(plain.sum()) / math.log(2) / max(size, 1)
    if bits_per_byte > BITS_PER_BYTE:
        yield (
            f"the base predicts the calibration text at {bits_per_byte:.1f} bits a byte, where text like its training data "
            "takes about one: its language or domain may be far from the base's own"
        )
    if beginning is None or start or int((judged[:, 0] == beginning).sum()) == len(judged):
        return
    begun = torch.cat([torch.full((len(judged), 1), beginning), judged], dim=1)
    gain = float(plain.mean() - nats(begun)[:, 1:].mean())
    if gain > WITHOUT_START:
        yield (
            "the tokenizer puts no beginning-of-text token before a text, and after one the base predicts the calibration text "
            f"better by {gain:.1f} nats a token"
        )
