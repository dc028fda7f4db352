"""What `generate` steps take and return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel

from whichbits.schema.inputs import EngineInputs
from whichbits.schema.served_weights import Agreement
from whichbits.schema.summary import Summary

PromptT = TypeVar("PromptT", bound=BaseModel)
"""A prompt, as `similarity` declares it."""


class GenerateInputs(EngineInputs, Generic[PromptT]):
    """A checkpoint in an engine, and what it is asked."""

    if_given: ClassVar[frozenset[str]] = EngineInputs.if_given | {"repeat"}

    prompts: tuple[PromptT, ...]
    max_tokens: int
    repeat: int | None = None
    """Which run of several, where it is not the first."""


@dataclass(frozen=True)
class GeneratedText:
    """A row of `items.parquet`."""

    item: str
    prompt_hash: str
    """SHA-256 of the prompt's token ids."""
    text: str
    tokens: int
    finish_reason: str
    """`stop` or `length`."""
    token_ids: tuple[int, ...] | None = None
    """Of the text, by the model's tokenizer; None in results of before."""


class GenerateSummary(Summary, kind="generate"):
    """Greedy texts; they are in `items.parquet`."""

    n: int
    tokens: int
    """Of all texts together."""
    weights: Agreement | None = None
    """Of a server at an address."""
