from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.schema.workload import Conversation, Lengths, Workload
from whichbits.serving.traffic.content import Asked, OwnContent, RandomContent, drawn
from whichbits.serving.traffic.random_prompts import prompt

VOCABULARY = np.arange(100, 4000, dtype=np.int32)


def test_plain_lengths_give_the_prompts_of_seed_level_and_request() -> None:
    content = RandomContent(VOCABULARY, 64, 11, seed=5)
    asked = content.request("concurrency 4", 3)
    assert asked == Asked(prompt(VOCABULARY, 64, seed=5, level="concurrency 4", index=3), 11)


def test_lengths_of_a_distribution_have_its_mean_and_stay_between_its_ends() -> None:
    lengths = Lengths(mean=200, stdev=60, min=120, max=400)
    content = RandomContent(VOCABULARY, lengths, Lengths(mean=30, stdev=5), seed=1)
    asked = [content.request("rate 4", index) for index in range(1500)]
    prompts, outputs = [len(one.prompt) for one in asked], [one.output_tokens for one in asked]
    # Mean of the normal distribution between 119.5 and 400.5, by scipy.stats.truncnorm: 210.2.
    assert np.mean(prompts) == pytest.approx(210.2, abs=4.5)
    assert min(prompts) >= 120 and max(prompts) <= 400 and len(set(prompts)) > 100
    assert np.mean(outputs) == pytest.approx(30, abs=0.5) and min(outputs) >= 15 and max(outputs) <= 45
    assert abs(np.corrcoef(prompts, outputs)[0, 1]) < 0.1


@given(st.floats(0, 1), st.floats(2, 5000), st.floats(0, 500))
def test_a_drawn_length_is_between_the_ends(uniform: float, mean: float, stdev: float) -> None:
    lengths = Lengths(mean=max(mean, 4), stdev=stdev)
    assert lengths.min <= drawn(lengths, uniform) <= lengths.max


@pytest.mark.parametrize(
    "lengths",
    [
        Lengths(mean=100, stdev=100),
        Lengths(mean=100, stdev=300, min=1, max=5000),
        Lengths(mean=800, stdev=300, min=50, max=2000),
        Lengths(mean=100, stdev=1e9, min=1, max=200),
        Lengths(mean=100.4, stdev=0),
        Lengths(mean=5000, stdev=5000, max=5001),
    ],
)
def test_the_mean_of_a_workload_is_that_of_what_is_drawn(lengths: Lengths) -> None:
    sent = np.mean([drawn(lengths, (place + 0.5) / 5000) for place in range(5000)])
    assert Workload(name="a", prompt_tokens=lengths, output_tokens=lengths).mean_prompt_tokens == pytest.approx(sent, abs=1)
    talk = Conversation(turns=3, user_tokens=10)
    workload = Workload(name="a", prompt_tokens=lengths, output_tokens=lengths, conversation=talk)
    assert workload.mean_prompt_tokens == pytest.approx(sent + (sent + 10), abs=2.5)
    assert workload.mean_output_tokens == pytest.approx(sent, abs=1)


def test_the_mean_of_requests_that_are_given_is_theirs() -> None:
    lengths = Lengths(mean=100, stdev=300, min=1, max=5000)
    given = [{"trace": {"file": "log.csv"}}, {"prompts": "prompts.jsonl"}, {"counted": True}]
    means = [Workload(name="a", prompt_tokens=lengths, output_tokens=lengths, **one).mean_prompt_tokens for one in given]
    assert means == [100, 100, 100]


def test_a_log_gives_the_lengths_of_its_requests_in_their_order() -> None:
    content = RandomContent(VOCABULARY, Lengths(mean=9, stdev=1), 3, 0, recorded=((8, 1), (12, 5)))
    found = [content.request("trace", index) for index in range(3)]
    assert [(len(one.prompt), one.output_tokens) for one in found] == [(8, 1), (12, 5), (8, 1)]
    assert found[0].prompt != found[2].prompt


def test_a_shared_prefix_is_the_same_in_all_rounds_and_the_rest_is_not() -> None:
    first, second = (RandomContent(VOCABULARY, 40, 3, seed, shared_prefix_tokens=32).request("rate 1", seed) for seed in (1, 2))
    assert len(first.prompt) == 40
    assert first.prompt[:32] == second.prompt[:32] and first.prompt[32:] != second.prompt[32:]


def test_a_turn_holds_all_that_was_said_before_it() -> None:
    content = RandomContent(VOCABULARY, 40, Lengths(mean=9, stdev=3), 7, 16, conversation=Conversation(turns=3, user_tokens=5))
    first = [content.request("concurrency 4", index) for index in range(3)]
    other = [content.request("concurrency 4", index) for index in range(3, 6)]
    for one, then in pairwise(first):
        assert then.prompt[: len(one.prompt)] == one.prompt
        assert len(then.prompt) == len(one.prompt) + one.output_tokens + 5
    assert [len(found[0].prompt) for found in (first, other)] == [40, 40]
    assert first[0].prompt[:16] == other[0].prompt[:16] and first[0].prompt[16:] != other[0].prompt[16:]


def test_a_shorter_prompt_is_the_beginning_of_a_longer_one() -> None:
    long = prompt(VOCABULARY, 4099, seed=1, level="synchronous", index=2)
    assert all(
        prompt(VOCABULARY, length, seed=1, level="synchronous", index=2) == long[:length] for length in (1, 2, 63, 64, 65, 4098)
    )


def test_own_prompts_come_once_before_one_comes_again() -> None:
    own = tuple(Asked([number], 1) for number in range(7))
    content = OwnContent(own, seed=3)
    found = [content.request("synchronous", index).prompt[0] for index in range(14)]
    assert sorted(found[:7]) == sorted(found[7:]) == list(range(7)) and found[:7] != found[7:]
    assert [OwnContent(own, seed=4).request("synchronous", index).prompt[0] for index in range(7)] != found[:7]
