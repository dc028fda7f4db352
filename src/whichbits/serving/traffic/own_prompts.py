"""The user's own prompts, a JSONL file: `prompt` or `messages` a line, and `output_tokens` where a line's differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from whichbits.core.conversation import messages
from whichbits.core.errors import UserError
from whichbits.core.text import json_lines, read_bytes
from whichbits.models.chat_template import render
from whichbits.models.tokenization import load_tokenizer, plain_ids, text_ids
from whichbits.schema.workload import Workload, longest
from whichbits.serving.traffic.content import Asked

A_STREAM = 5
"""Fewest prompts for each request in flight: with fewer no part of the load is steady."""


def read_prompts(path: Path, tokenizer: Path, output_tokens: int, *, trust_remote_code: bool = False) -> tuple[Asked, ...]:
    """Token ids of each line's prompt: a text after BOS, once, or messages in the chat template.

    `tokenizer` is a checkpoint's folder. `output_tokens` is the most that a line may ask for, and what one without its own
    does. Raises UserError with the line.
    """
    loaded = load_tokenizer(tokenizer, trust_remote_code=trust_remote_code)
    found = []
    for number, row in json_lines(read_bytes(path, f"prompts {path}"), f"prompts {path}"):
        try:
            found.append(_asked(row, loaded, output_tokens))
        except ValueError as error:
            raise UserError(
                f"prompts {path}, line {number}: {error}",
                remedy='give one object a line, {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}',
            ) from error
    if not found:
        raise UserError(f"prompts {path} holds none", remedy='give one object a line, {"prompt": "..."}')
    return tuple(found)


def natural_prompts(workload: Workload, tokenizer: Path, *, trust_remote_code: bool = False) -> tuple[Asked, ...]:
    """The prompts whose answers may end by themselves; none where the workload has none. Raises UserError for too few."""
    natural, file = workload.natural_output, workload.prompts
    if natural is None or file is None:
        return ()
    asked = read_prompts(file, tokenizer, longest(workload.output_tokens), trust_remote_code=trust_remote_code)
    if len(asked) < A_STREAM * natural.concurrency:
        raise UserError(
            f"natural_output: {natural.concurrency} requests in flight need {A_STREAM * natural.concurrency} prompts or more; "
            f"{file} holds {len(asked)}",
            remedy="give more prompts, or a lower concurrency",
        )
    return tuple(replace(one, forced=False) for one in asked)


def _asked(row: Any, tokenizer: Any, output_tokens: int) -> Asked:
    if not isinstance(row, Mapping):
        raise ValueError("is not an object")
    unknown = sorted(set(row) - {"prompt", "messages", "output_tokens"})
    if unknown or ("prompt" in row) == ("messages" in row):
        raise ValueError(f"has {', '.join(row) or 'no field'} where prompt or messages is wanted, with output_tokens at most")
    output = row.get("output_tokens", output_tokens)
    if not isinstance(output, int) or isinstance(output, bool) or not 1 <= output <= output_tokens:
        raise ValueError(f"output_tokens is {output!r}, not a number from 1 to the workload's {output_tokens}")
    if "messages" in row:
        text = render(tokenizer, messages(row["messages"]), add_generation_prompt=True)
        ids = plain_ids(tokenizer, text)
    else:
        text = row["prompt"]
        if not isinstance(text, str):
            raise ValueError(f"prompt is {text!r:.40}, not a text")
        ids = text_ids(tokenizer, text)
    if not ids:
        raise ValueError("the prompt is empty")
    return Asked(ids, output, text=text)
