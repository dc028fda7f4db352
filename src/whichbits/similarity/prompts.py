"""Prompts to generate from: ours, or the user's JSONL."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from whichbits.core.conversation import text_of
from whichbits.core.errors import UserError
from whichbits.core.text import json_lines, read_bytes

NonEmpty = Annotated[str, Field(min_length=1)]


def _joined(content: object) -> object:
    """Text parts as one text; anything else as it is, for the schema to judge."""
    return text_of(content) if isinstance(content, list) else content


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Annotated[NonEmpty, BeforeValidator(_joined)]


class Prompt(BaseModel):
    """A chat that the model is to answer; `prompt` in the file is short for one message of the user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: NonEmpty
    category: str = ""
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: object) -> object:
        if isinstance(data, Mapping) and "uid" in data and "id" not in data:  # Arena-Hard's form, which has more fields
            data = {"id": data["uid"], **{name: data[name] for name in ("category", "prompt") if name in data}}
        if isinstance(data, Mapping) and "prompt" in data and "messages" not in data:
            rest = {name: value for name, value in data.items() if name != "prompt"}
            return {**rest, "messages": [{"role": "user", "content": data["prompt"]}]}
        return data


def builtin_prompts() -> tuple[Prompt, ...]:
    """The 48 prompts of this repository: chat, instruction, code, summary and reasoning."""
    content = files("whichbits.similarity").joinpath("data/prompts.jsonl").read_bytes()
    return parse_prompts(content, "data/prompts.jsonl")


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Prompts of a JSONL file; raises UserError with the line for anything that cannot be used."""
    return parse_prompts(read_bytes(path, f"prompts: {path}"), str(path))


def parse_prompts(content: bytes, name: str) -> tuple[Prompt, ...]:
    """Prompts of a file with one JSON object a line; `name` is what errors call it. Empty lines are skipped."""
    prompts: dict[str, Prompt] = {}
    for number, row in json_lines(content, f"prompts: {name}"):
        prompt = _parse(row, f"prompts: {name} line {number}")
        if prompt.id in prompts:
            raise UserError(
                f"prompts: {name} line {number}: id '{prompt.id}' occurs twice", remedy="give each prompt its own id"
            )
        prompts[prompt.id] = prompt
    if not prompts:
        raise UserError(f"prompts: {name} holds no prompt", remedy='write one a line: {"id": "1", "prompt": "..."}')
    return tuple(prompts.values())


def _parse(row: object, where: str) -> Prompt:
    try:
        return Prompt.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise UserError(
            f"{where}: {field} is {first['input']!r:.80}: {first['msg']}",
            remedy='the fields are id, category (optional) and prompt or messages: [{"role": "user", "content": "..."}]',
        ) from error
