"""One streamed answer, as its chunks arrive."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")

from whichbits.engines.http.sse import Event
from whichbits.serving.client import Arrivals, StreamError


def chunk(made: int | None, prompt: int = 4, text: str = "x") -> Event:
    usage = None if made is None else {"prompt_tokens": prompt, "completion_tokens": made}
    return Event(json.dumps({"choices": [{"index": 0, "text": text}], "usage": usage}))


def last(made: int) -> Event:
    return Event(json.dumps({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": made}}))


@pytest.mark.parametrize(
    ("events", "times"),
    [
        ([chunk(1), chunk(None), chunk(None), last(3)], [0, 1, 2]),  # usage in the first chunk alone
        ([chunk(0, text=""), chunk(None), chunk(None), last(2)], [1, 2]),
        ([chunk(None), chunk(None), chunk(2, text="")], [0, 1]),  # usage in the last chunk alone
        ([chunk(1, text=""), chunk(2), chunk(2), last(2)], [0, 1]),  # a first token without text
        ([chunk(None), last(1), Event("[DONE]"), chunk(None), last(0), Event("late", error=True)], [0]),
    ],
)
def test_every_chunk_with_tokens_is_an_arrival_however_usage_is_sent(events: list[Event], times: list[int]):
    arrivals = Arrivals()
    for place, event in enumerate(events):
        arrivals.take(event, float(place))
    arrivals.check()
    assert arrivals.times == times


@pytest.mark.parametrize("running", [None, 0])
def test_text_without_a_token_is_an_error(running: int | None):
    arrivals = Arrivals()
    arrivals.take(chunk(running), 0.0)
    arrivals.take(last(0), 1.0)
    with pytest.raises(StreamError, match="counted 0 tokens of output"):
        arrivals.check()


@pytest.mark.parametrize(
    "data", ['{"detail": "full"}', '{"message": "full"}', '{"error": {"message": "full"}}', "full", '"full"']
)
def test_an_event_called_an_error_is_one_whatever_it_holds(data: str):
    with pytest.raises(StreamError, match="an error within the stream: full"):
        Arrivals().take(Event(data, error=True), 0.0)


def test_counts_of_tokens_never_go_back():
    arrivals = Arrivals()
    for place, made in enumerate((1, 2, 2, 5)):
        arrivals.take(chunk(made), float(place))
    arrivals.check()
    assert (arrivals.times, arrivals.prompt_tokens, arrivals.output_tokens) == ([0.0, 1.0, 3.0], 4, 5)
    with pytest.raises(StreamError, match="completion_tokens went back from 5 to 3"):
        arrivals.take(chunk(3), 4.0)
    with pytest.raises(StreamError, match="prompt_tokens went back from 4 to 3"):
        arrivals.take(chunk(6, prompt=3), 5.0)
