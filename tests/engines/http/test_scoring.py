"""Which requests score which continuations."""

from __future__ import annotations

import pytest

from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.http.scoring import MAX_TOKENS_NAMED, ScoringRequest, scoring_requests

PAIRS = [
    ((7, 8), (1,)),
    ((7, 8), (2,)),
    ((7, 8), (1,)),
    ((7, 8), (1, 3)),
    ((7, 8), (1, 4)),
    ((7,), (8, 1)),
    ((7,), ()),
]


def test_what_differs_in_its_last_token_alone_is_one_request() -> None:
    assert scoring_requests(PAIRS, given=True) == [
        ScoringRequest((7, 8), 2, (1, 2)),
        ScoringRequest((7, 8, 1), 2, (3, 4)),
        ScoringRequest((7, 8), 1, (1,)),  # the 8 is scored too
    ]


def test_a_server_that_is_not_told_tokens_is_asked_for_each_continuation() -> None:
    prompts = [(7, 8, 1), (7, 8, 2), (7, 8, 1, 3), (7, 8, 1, 4), (7, 8, 1)]
    assert [request.prompt for request in scoring_requests(PAIRS, given=False)] == prompts
    assert all(request.echo and not request.named for request in scoring_requests(PAIRS, given=False))


def test_no_request_names_more_tokens_than_the_server_takes() -> None:
    found = scoring_requests([((1,), (token,)) for token in range(2 * MAX_TOKENS_NAMED + 1)], given=True)
    assert [len(request.named) for request in found] == [MAX_TOKENS_NAMED, MAX_TOKENS_NAMED, 1]


@pytest.mark.parametrize("given", [True, False])
def test_prompts_that_begin_alike_follow_each_other(fake, given: bool) -> None:
    server = fake(given=given)
    prompts = [[5, 1], [2, 3], [5, 2], [2, 4]]
    with Endpoint(server.url, "m", max_length=64, concurrency=1) as endpoint:
        endpoint.loglikelihood([(prompt, [token]) for prompt in prompts for token in (6, 7)])
        scored = [request["prompt"] for request in server.received[1:]]  # after the question which tokens it takes
        endpoint.generate(prompts, max_tokens=2)
    asked = sorted(prompts) if given else sorted([*prompt, token] for prompt in prompts for token in (6, 7))
    assert scored == asked
    assert [request["prompt"] for request in server.received[-4:]] == sorted(prompts)
