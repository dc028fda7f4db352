"""Log-probabilities as servers send them, in one form, and checked.

Known are the form of completions (`tokens`, `token_logprobs`, `top_logprobs`; vLLM, SGLang, TGI) and that of chat completions
(`content`, a list of tokens), which llama.cpp sends for completions too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whichbits.engines.errors import EngineError

ROUNDING = 1e-3
"""By how much a log-probability may lie above 0."""
PLACEHOLDER = -9999.0
"""What vLLM writes for −∞, which JSON does not have."""
_TOKEN_ID = re.compile(r"token_id:(\d+)")


@dataclass(frozen=True)
class TokenLogprob:
    """One position: the token's name (`token_id:N` where the server names ids), its log-probability and the likeliest ones'."""

    name: str
    logprob: float | None
    top: Mapping[str, float] | None

    @property
    def token_id(self) -> int | None:
        """The token's id, None where the server names texts."""
        found = _TOKEN_ID.fullmatch(self.name)
        return int(found[1]) if found else None


def token_name(token_id: int) -> str:
    """How a server that names ids writes a token."""
    return f"token_id:{token_id}"


def parse_logprobs(value: Any) -> list[TokenLogprob]:
    """The positions of an answer's `logprobs`. Raises EngineError where there are none, or in a form that is not known."""
    if not value:
        raise EngineError("the server does not return log-probabilities (logprobs)")
    if isinstance(value, dict) and isinstance(value.get("content"), list):
        return [_chat_position(entry) for entry in value["content"]]
    if isinstance(value, dict) and isinstance(value.get("tokens"), list) and isinstance(value.get("token_logprobs"), list):
        names, own = value["tokens"], value["token_logprobs"]
        tops = value["top_logprobs"] if isinstance(value.get("top_logprobs"), list) else [None] * len(names)
        if not len(names) == len(own) == len(tops):
            raise EngineError(f"the server returned {len(own)} log-probabilities for {len(names)} tokens")
        return [_position(name, logprob, top) for name, logprob, top in zip(names, own, tops, strict=True)]
    known = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
    raise EngineError(f"the server returns log-probabilities in a form that is not known: {known:.100}")


def _position(name: Any, logprob: Any, top: Any) -> TokenLogprob:
    if not isinstance(name, str):
        raise EngineError(f"the server returned {name!r:.40} instead of a token's name")
    likeliest = {str(other): _checked(value) for other, value in top.items()} if isinstance(top, dict) else None
    return TokenLogprob(name, None if logprob is None else _checked(logprob), likeliest)


def _chat_position(entry: Any) -> TokenLogprob:
    """A position of the chat form; llama.cpp adds the tokens' ids."""
    if not isinstance(entry, dict):
        raise EngineError(f"the server returned {entry!r:.40} instead of a token's log-probability")
    top = entry.get("top_logprobs")
    likeliest = None
    if isinstance(top, list):
        if not all(isinstance(other, dict) for other in top):
            raise EngineError(f"the server returned {top!r:.40} as the likeliest tokens")
        likeliest = {_chat_name(other): other.get("logprob") for other in top}
    return _position(_chat_name(entry), entry.get("logprob"), likeliest)


def _chat_name(entry: Mapping[str, Any]) -> str:
    token_id = entry.get("id")
    return token_name(token_id) if isinstance(token_id, int) else str(entry.get("token"))


def _checked(value: Any) -> float:
    """A log-probability that can be one: a finite number that is not positive."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EngineError(f"the server returned {value!r:.40} as a log-probability")
    number = float(value) if isinstance(value, float) or abs(value) < 2**53 else math.inf
    if not math.isfinite(number) or number <= PLACEHOLDER:
        raise EngineError(f"the server returned a log-probability that is not finite: {value!r:.40}")
    if number > ROUNDING:
        raise EngineError(f"the server returned a log-probability above 0: {value}")
    return number


def check_echo(positions: Sequence[TokenLogprob], prompt: Sequence[int], spellings: Callable[[int], Sequence[str]]) -> None:
    """Check that the first positions are those of the prompt's tokens: their number, their identity, and no shift.

    spellings: how a server that names texts instead of ids may write a token; nothing leaves the name unread.
    Raises EngineError.
    """
    if len(positions) < len(prompt):
        raise EngineError(
            "the server does not return log-probabilities of the prompt's tokens (echo with logprobs): "
            f"{len(positions)} for {len(prompt)} tokens"
        )
    if positions[0].logprob is not None:
        raise EngineError("the server gives the first token of a prompt a log-probability, though nothing comes before it")
    for place, (position, token_id) in enumerate(zip(positions, prompt, strict=False)):
        if not _same_token(position, token_id, spellings):
            raise EngineError(f"the server echoes {position.name!r} in place {place} of the prompt, where {token_id} was sent")
        if place and position.logprob is None:
            raise EngineError(f"the server returns no log-probability of the prompt's token in place {place}")
        check_own(position)


def check_own(position: TokenLogprob) -> None:
    """Check that the likeliest tokens, where ids are named, hold the token itself with the same log-probability."""
    if position.token_id is None or not position.top or position.logprob is None:
        return
    if abs(position.top.get(position.name, math.inf) - position.logprob) > ROUNDING:
        raise EngineError(f"the server's log-probability of {position.name} is not the one among its top_logprobs: shifted?")


def _same_token(position: TokenLogprob, token_id: int, spellings: Callable[[int], Sequence[str]]) -> bool:
    if position.token_id is not None:
        return position.token_id == token_id
    echoed, sent = _bare(position.name), [_bare(spelling) for spelling in spellings(token_id)]
    # Halves of characters and special tokens are written differently from server to server.
    readable = echoed and all(sent) and "\ufffd" not in "".join((echoed, *sent)) and not echoed.startswith("bytes:")
    return not readable or not sent or echoed in sent


def _bare(text: str) -> str:
    return text.replace("\u2581", " ").strip()


def check_distribution(scores: Sequence[tuple[object, Sequence[int], float]]) -> None:
    """Check that what was scored after one context can be of one distribution. Raises EngineError.

    scores: context, continuation and log-likelihood of each. Continuations of which none begins another exclude each other, so
    their probabilities sum to 1 at most; a server that returns zeros returns a certainty for each.
    """
    groups: dict[object, dict[tuple[int, ...], float]] = {}
    for context, continuation, total in scores:
        groups.setdefault(context, {})[tuple(continuation)] = total
    for group in groups.values():
        exclusive = [
            total
            for one, total in group.items()
            if one and not any(other != one and one[: len(other)] == other for other in group if other)
        ]
        sum_ = sum(math.exp(min(total, 0.0)) for total in exclusive)
        if sum_ > 1.2:
            raise EngineError(
                f"the server's log-probabilities are of no distribution: {len(exclusive)} continuations that exclude each "
                f"other have a probability of {sum_:.2f} together"
            )


def check_varied(values: Sequence[float]) -> None:
    """Raise EngineError where the log-probabilities of eight tokens or more are all the same number."""
    if len(values) >= 8 and min(values) == max(values):
        raise EngineError(f"the server returned the same log-probability for all {len(values)} tokens: {values[0]:g}")
