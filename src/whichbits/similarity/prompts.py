"""Prompts to generate from: ours, or the user's JSONL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whichbits.errors import UserError

NonEmpty = Annotated[str, Field(min_length=1)]


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: NonEmpty


class Prompt(BaseModel):
    """A chat that the model is to answer; `prompt` in the file is short for one message of the user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: NonEmpty
    category: str = ""
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: object) -> object:
        if isinstance(data, Mapping) and "prompt" in data and "messages" not in data:
            rest = {name: value for name, value in data.items() if name != "prompt"}
            return {**rest, "messages": [{"role": "user", "content": data["prompt"]}]}
        return data


def builtin_prompts() -> tuple[Prompt, ...]:
    """The 48 prompts of this repository: chat, instruction, code, summary and reasoning."""
    text = files("whichbits.similarity").joinpath("data/prompts.jsonl").read_text("utf-8")
    return parse_prompts(text, "data/prompts.jsonl")


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Prompts of a JSONL file; raises UserError with the line for anything that cannot be used."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"prompts: cannot read {path} ({error.strerror})", remedy="give the path of a JSONL file") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"prompts: {path} line {line} is not UTF-8", remedy="save the file as UTF-8") from error
    return parse_prompts(text, str(path))


def parse_prompts(text: str, name: str) -> tuple[Prompt, ...]:
    """Prompts of a text with one JSON object a line; `name` is what errors call it. Empty lines are skipped."""
    prompts: dict[str, Prompt] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        prompt = _parse_line(line, f"prompts: {name} line {number}")
        if prompt.id in prompts:
            raise UserError(
                f"prompts: {name} line {number}: id '{prompt.id}' occurs twice", remedy="give each prompt its own id"
            )
        prompts[prompt.id] = prompt
    if not prompts:
        raise UserError(f"prompts: {name} holds no prompt", remedy='write one a line: {"id": "1", "prompt": "..."}')
    return tuple(prompts.values())


def _parse_line(line: str, where: str) -> Prompt:
    try:
        return Prompt.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where} is not JSON ({error.msg} at column {error.colno})", remedy="write one object a line"
        ) from error
    except RecursionError as error:
        raise UserError(f"{where} is nested too deeply", remedy="write one object a line") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise UserError(
            f"{where}: {field} is {first['input']!r:.80}: {first['msg']}",
            remedy='the fields are id, category (optional) and prompt or messages: [{"role": "user", "content": "..."}]',
        ) from error
