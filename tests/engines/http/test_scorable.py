"""Servers that continue prompts, that return log-probabilities too, and that do neither."""

from __future__ import annotations

from typing import Any

import pytest

from whichbits.engines.http.connection import Connection
from whichbits.engines.http.scorable import why_not_scored


def without_logprobs(body: dict[str, Any], request: dict[str, Any]) -> None:
    body["choices"][0]["logprobs"] = None


@pytest.mark.parametrize(
    ("oddity", "continues", "scores"),
    [
        ({}, True, True),
        ({"given": False}, True, True),
        ({"unknown": frozenset({"logprobs"})}, True, False),
        ({"change": without_logprobs}, True, False),
        ({"token_ids": False}, False, False),
    ],
)
def test_what_a_server_answers_is_what_tasks_can_ask(fake: Any, oddity: dict[str, Any], continues: bool, scores: bool) -> None:
    server = fake(**oddity)
    connection = Connection(server.url, "m")
    found = [why_not_scored(connection, logprobs=logprobs) for logprobs in (False, True)]
    assert [why is None for why in found] == [continues, scores], found
    assert len(server.received) <= 5
