"""What a workload's requests are made of: random tokens of its lengths, a recorded log's lengths, or the user's prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from whichbits.core.errors import UserError
from whichbits.schema.workload import Trace, Workload, longest
from whichbits.serving.run_length import LEAST_S, MOST_S
from whichbits.serving.traffic.content import Content, OwnContent, RandomContent
from whichbits.serving.traffic.log import Request, read_log
from whichbits.serving.traffic.own_prompts import read_prompts


def recorded(workload: Workload) -> tuple[Request, ...]:
    """The requests of a workload's log that are replayed; none where it has no log. Raises UserError."""
    return () if workload.trace is None else _replayed(workload.trace)


def content_of(
    workload: Workload, vocabulary: NDArray[np.int32], tokenizer: Path, seed: int, *, trust_remote_code: bool = False
) -> Content:
    """The requests of a workload in one round; `vocabulary` are token ids for random prompts. Raises UserError."""
    if workload.prompts is not None:
        output = longest(workload.output_tokens)
        return OwnContent(read_prompts(workload.prompts, tokenizer, output, trust_remote_code=trust_remote_code), seed)
    return RandomContent(
        vocabulary,
        workload.prompt_tokens,
        workload.output_tokens,
        seed,
        workload.shared_prefix_tokens or 0,
        tuple((request.prompt_tokens, request.output_tokens) for request in recorded(workload)),
        workload.conversation,
    )


def with_lengths(entry: Mapping[str, Any], tokenizer: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """A workload's fields with the lengths that its log or its prompts have. Raises UserError.

    Fields that are not of their shape are left to the workload's own check.
    """
    trace, prompts = entry.get("trace"), entry.get("prompts")
    if isinstance(trace, str):
        trace = {"file": trace}
    own = [name for name in ("trace", "prompts") if entry.get(name) is not None]
    if own and ("prompt_tokens" in entry or (trace is not None and "output_tokens" in entry)):
        raise UserError(
            f"workload.{own[0]} is given together with lengths of its own",
            remedy="leave prompt_tokens out" + (" and output_tokens: the log has them" if trace is not None else ""),
        )
    if trace is not None and (log := _trace(trace)) is not None:
        found = _replayed(log)
        lengths = {"prompt_tokens": [one.prompt_tokens for one in found], "output_tokens": [one.output_tokens for one in found]}
        return {**entry, "trace": trace, **{name: _spread(values) for name, values in lengths.items()}}
    output = entry.get("output_tokens")
    if isinstance(prompts, str) and isinstance(output, int):
        asked = read_prompts(Path(prompts), tokenizer, output, trust_remote_code=trust_remote_code)
        outputs = [one.output_tokens for one in asked]
        same = {"output_tokens": output if set(outputs) == {output} else _spread(outputs)}
        return {**entry, "prompt_tokens": _spread([len(one.prompt) for one in asked]), **same}
    return dict(entry)


def _trace(written: Any) -> Trace | None:
    """None where it is not of its shape."""
    try:
        return Trace.model_validate(written)
    except ValidationError:
        return None


def _replayed(trace: Trace) -> tuple[Request, ...]:
    """The requests of a log that are replayed. Raises UserError where that takes no time, or more than a run may."""
    found = read_log(trace.file)[: trace.requests]
    seconds = (found[-1].arrival_s - found[0].arrival_s) / trace.speed
    if trace.replay and not LEAST_S <= seconds <= MOST_S:
        raise UserError(
            f"workload.trace: {len(found)} requests of {trace.file} take {seconds:.3g} s to replay, "
            f"which is less than {LEAST_S:g} s or more than {MOST_S / 3600:g} hours",
            remedy="give another number of requests, another speed, or replay: false, which uses its lengths alone",
        )
    return found


def _spread(tokens: Sequence[int]) -> dict[str, float]:
    """Mean, standard deviation and ends of some lengths, as a workload states them."""
    return {"mean": float(np.mean(tokens)), "stdev": float(np.std(tokens)), "min": min(tokens), "max": max(tokens)}
