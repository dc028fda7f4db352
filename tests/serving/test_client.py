"""One streamed answer, as its chunks arrive."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")

from whichbits.serving.client import Arrivals, StreamError


def chunk(made: int, prompt: int = 4) -> str:
    usage = {"prompt_tokens": prompt, "completion_tokens": made}
    return json.dumps({"choices": [{"index": 0, "text": "x"}], "usage": usage})


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
