"""Who judges open answers, as a specification and a command line name it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, ValidationError

from whichbits.schema.frozen import Written
from whichbits.studies.specification.source import Source, explain, read


class JudgeChoice(Written):
    """Who judges open answers: any model behind an OpenAI-compatible address."""

    url: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    baseline: Path | None = None
    """Answers to judge against in place of the task's own: arena-hard's JSONL, or items.parquet of another evaluation."""
    against_base: bool = False
    """Whether each candidate's answers are judged against the base's too, question by question; they are generated once."""
    rounds: Annotated[int, Field(ge=1, le=100)] | None = None
    """How often each answer is judged, each time in both orders; default 2."""
    max_tokens: PositiveInt | None = None
    """Longest judgment; default 4096."""
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    key_variable: Annotated[str, Field(min_length=1)] | None = None
    """Variable of the environment that holds the judge's key; default OPENAI_API_KEY."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Judgments under way at once; default 8."""
    prompt_price: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Dollars for a million tokens read."""
    output_price: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Dollars for a million tokens written."""


class _Given(Written):
    """The one field of what a command line names."""

    judge: JudgeChoice


def parse_judge(text: str) -> JudgeChoice:
    """The judge of a command line, its fields written as in a specification: `{url: ..., model: ...}`. Raises UserError."""
    source = Source(f"judge: {text}", "--judge")
    try:
        return _Given.model_validate(read(source)).judge
    except ValidationError as error:
        raise explain(error, source, _Given) from None
