"""A completion as a server sends it, checked against what was asked before anything of it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from whichbits.engines.errors import EngineError

FinishReason = Literal["stop", "length"]

_STOPS = ("stop", "eos", "eos_token", "stop_sequence")
_TAKEN_OUT = ("reasoning_content", "reasoning", "tool_calls", "refusal")
"""Fields into which a server's parsers move parts of the text."""


@dataclass(frozen=True)
class Generation:
    """One generated text; `tokens` counts what the engine produced, `finish_reason` is the engine's."""

    text: str
    tokens: int
    finish_reason: FinishReason


@dataclass(frozen=True)
class Completion:
    """The one choice of an answer. prompt_tokens, tokens: the server's own counts, None where it gives none."""

    choice: Mapping[str, Any]
    model: str | None
    prompt_tokens: int | None
    tokens: int | None


def parse_completion(body: Mapping[str, Any], *, prompt_tokens: int) -> Completion:
    """The choice of a completion that was asked with so many tokens of prompt.

    Raises EngineError for another number of choices, and for another number of tokens: a server that cuts a prompt or adds to
    it answers something else.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        given = f"{len(choices)} choices" if isinstance(choices, list) else "no list of choices"
        raise EngineError(f"the server answered with {given} instead of one")
    if choices[0].get("index") not in (0, None):
        raise EngineError(f"the server answered with choice {choices[0]['index']!r:.20} instead of 0")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    read, made = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if read is not None and read != prompt_tokens:
        raise EngineError(f"the server counted {read} tokens of prompt where {prompt_tokens} were sent: it cuts or adds some")
    model = body.get("model")
    return Completion(choices[0], model if isinstance(model, str) and model else None, read, made)


def generation_of(completion: Completion, *, max_tokens: int, count: Callable[[str], int] | None) -> Generation:
    """The generated text. `count` gives the tokens of a text where the server does not say how many it made.

    Raises EngineError where there is no text, or where it does not say why the text ends.
    """
    choice = completion.choice
    text = choice.get("text")
    if text is not None and not isinstance(text, str):
        raise EngineError(f"the server answered with {type(text).__name__} instead of a text")
    if not text:
        taken = next((name for name in _TAKEN_OUT if choice.get(name)), None)
        if taken is not None:
            raise EngineError(f"the answer is in {taken} and not in the text: start the server without that parser")
        if text is None and completion.tokens != 0:
            raise EngineError(f"the server answered with text null, though it counted {completion.tokens} tokens of output")
    text = _whole_characters(text or "")
    tokens = completion.tokens
    if tokens is None:
        if count is None:
            raise EngineError("the server does not say how many tokens it made (usage)")
        tokens = min(count(text), max_tokens)
    if tokens > max_tokens:
        raise EngineError(f"the server counted {tokens} tokens of output where at most {max_tokens} were asked for")
    if text and tokens == 0:
        raise EngineError("the server counted no token of output for a text that is not empty")
    return Generation(text, tokens, _finish_reason(choice.get("finish_reason"), tokens, max_tokens))


def _finish_reason(stated: Any, tokens: int, max_tokens: int) -> FinishReason:
    if stated == "length":
        if tokens < max_tokens:
            raise EngineError(f"the server cut a text after {tokens} tokens of output, where {max_tokens} were allowed")
        return "length"
    if stated in _STOPS:
        return "stop"
    if stated is None and tokens >= max_tokens:
        return "length"
    raise EngineError(f"the server ended a text with finish_reason {stated!r:.40} after {tokens} tokens: it may be cut")


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise EngineError(f"the server's usage has {name} {value!r:.40}")
    return value


def _whole_characters(text: str) -> str:
    """The text with halves of surrogate pairs, which JSON can carry and no file can, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def check_one_model(seen: Sequence[str]) -> None:
    """Raise EngineError where the answers of one step came from several models."""
    names = list(dict.fromkeys(seen))
    if len(names) > 1:
        raise EngineError(f"answers came from several models: {', '.join(names[:4])}")
