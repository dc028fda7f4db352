"""Prefill and decode apart, of a server whose timing is known, and of streams that are written down."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from whichbits.schema.prefill_decode import MeasuredBatches, Point, PrefillDecode
from whichbits.serving.observation import Observation
from whichbits.serving.prefill_decode import UNANSWERED, prefill_seconds, step_seconds

pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")

BATCHES = PrefillDecode(batch_sizes=(1, 4), prompt_tokens=(64,), context_tokens=(96,), repeats=2, steps=8)


def measured(url: str, tokenizer: Path, batches: PrefillDecode = BATCHES) -> dict[tuple[str, int], MeasuredBatches]:
    from whichbits.serving.prefill_decode import measure_batches

    found = measure_batches(url, "m", tokenizer, batches, seed=1)
    return {(one.phase, one.batch_size): one for one in found}


def stream(start: float, *arrivals: float, error: str | None = None) -> Observation:
    return Observation(
        request=0, warmup=False, target_s=start, start_s=start, first_token_s=arrivals[0], last_token_s=arrivals[-1],
        end_s=arrivals[-1], prompt_tokens=64, output_tokens=len(arrivals), chunks=len(arrivals),
        gaps_s=tuple(later - earlier for earlier, later in pairwise(arrivals)), error=error, asked_prompt_tokens=64,
        asked_output_tokens=len(arrivals),
    )  # fmt: skip


def test_times_are_those_of_the_server(start_engine, word_tokenizer: Path) -> None:
    found = measured(start_engine(ttft=0.2, itl=0.03), word_tokenizer)
    assert list(found) == [("prefill", 1), ("prefill", 4), ("decode", 1), ("decode", 4)]
    for (phase, _), one in found.items():
        assert one.valid or one.reasons[0].startswith("client saturated"), one.reasons
        assert len(one.seconds) == 2
        assert min(one.seconds) == pytest.approx(0.2 if phase == "prefill" else 0.03, rel=0.15)


@pytest.mark.parametrize(
    ("fault", "phase", "reason"),
    [
        ({"cached": 0.5}, "prefill", "prefix cache hit: 50.0%"),
        ({"fail_every": 6}, "prefill", "errors: "),
        ({"stop_after": 6}, "decode", "output lengths off: "),
        ({"slots": 2}, "decode", "0 decode steps with the whole batch in flight, of 8"),
    ],
)
def test_faults_of_the_server_are_said(start_engine, word_tokenizer: Path, fault, phase: str, reason: str) -> None:
    other = "prompt_tokens" if phase == "decode" else "context_tokens"
    batches = BATCHES.model_copy(update={"batch_sizes": (4,), other: ()})
    found = measured(start_engine(ttft=0.03, itl=0.005, **fault), word_tokenizer, batches)[phase, 4]
    assert not found.valid
    assert any(said.startswith(reason) for said in found.reasons), found.reasons


def test_prefill_lasts_from_the_first_request_to_the_last_first_token() -> None:
    assert prefill_seconds([stream(1.0, 1.5), stream(1.1, 3.0)]) == pytest.approx(2.0)
    assert prefill_seconds([stream(1.0, 1.5), stream(1.1, 3.0, error="lost")]) == UNANSWERED


def test_a_decode_step_is_that_of_the_whole_batch() -> None:
    """Two streams of which the first decodes alone, fast, before the second has its first token."""
    first = stream(0.0, 1.0, 1.1, 1.2, 1.3, 2.0, 2.5, 3.0, 3.5, 4.0)
    second = stream(0.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.1, 4.2, 4.3, 4.4)
    assert step_seconds([first, second], 8) == pytest.approx(0.5)
    assert step_seconds([first, second], 9) == (
        "4 decode steps with the whole batch in flight, of 9: the server takes fewer requests at once"
    )


def test_lengths_of_the_requests() -> None:
    """Half-way through its output a request of decode has the context; the output outlasts the prompts of the batch."""
    assert BATCHES.lengths(Point(phase="prefill", batch_size=4, tokens=64)) == (64, 1)
    prompt, output = BATCHES.lengths(Point(phase="decode", batch_size=4, tokens=1024))
    assert output == 8 + 4 + 1 and prompt + output // 2 == 1024
    assert BATCHES.lengths(Point(phase="decode", batch_size=1, tokens=4))[0] == 4
    assert BATCHES.longest_request == 96 - 5 + 10


@pytest.mark.parametrize("fields", [{"batch_sizes": [8, 1]}, {"batch_sizes": [0]}, {"prompt_tokens": []}, {"steps": True}])
def test_batches_that_are_none_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        PrefillDecode.model_validate(fields)
