from __future__ import annotations

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.workload import Lengths, Loads
from whichbits.serving.traffic.log import Request
from whichbits.serving.workload import at_concurrency, check_context, named_workloads, open_loads, parse_workload

OPEN = {"name": "mine", "prompt_tokens": 8, "output_tokens": 8}


def test_named_workloads_have_the_papers_lengths():
    lengths = {name: (one.prompt_tokens, one.output_tokens) for name, one in named_workloads().items()}
    assert lengths == {
        "code-completion": (256, 1024),
        "docstring-generation": (768, 128),
        "code-fixing": (1024, 1024),
        "rag": (1024, 128),
        "instruction-following": (256, 128),
        "multi-turn-chat": (512, 256),
        "summarization": (4096, 512),
        "large-rag": (10240, 1536),
        "demo-chat": (128, 32),
    }
    assert named_workloads()["demo-chat"].concurrency == (4, 16)
    assert all(one.requests_per_stream >= 5 for one in named_workloads().values())


def test_load_levels_measure_waves_after_a_warm_up():
    workload = parse_workload({"name": "mine", "prompt_tokens": 8, "output_tokens": 8, "requests_per_stream": 6, "rate": 2.5})
    four = at_concurrency(workload, 4)
    assert (four.name, four.warmup, four.requests) == ("concurrency 4", 4, 24)
    assert at_concurrency(workload, 1).name == "synchronous"
    (arrivals,) = open_loads(workload, ())
    assert (arrivals.name, arrivals.concurrency, arrivals.warmup, arrivals.requests) == ("rate 2.5", None, 10, 100)


def test_a_stream_goes_through_conversations_of_its_own():
    level = at_concurrency(parse_workload(OPEN | {"conversation": {"turns": 3, "user_tokens": 4}}), 2)
    assert [[level.turn(stream, sent) for sent in range(7)] for stream in range(2)] == [
        [0, 1, 2, 6, 7, 8, 12],
        [4, 5, 9, 10, 11, 15, 16],
    ]


def test_lengths_of_a_conversation():
    lengths = {"prompt_tokens": 100, "output_tokens": 20}
    workload = parse_workload(OPEN | lengths | {"conversation": {"turns": 4, "user_tokens": 30}})
    assert workload.longest_request == 100 + 3 * 50 + 20
    assert workload.mean_prompt_tokens == 175
    assert workload.shared == (100 + 150 + 200) / (100 + 150 + 200 + 250)
    assert workload.most_shared == 200 / 250


@pytest.mark.parametrize(
    ("fields", "levels"),
    [
        ({"rate": [1, 4]}, [("rate 1", 1.0, "rate", 10, 100), ("rate 4", 4.0, "rate", 10, 100)]),
        ({"rate": 2, "burstiness": 0.5, "rate_requests": 20}, [("rate 2, burstiness 0.5", 2.0, "rate", 2, 20)]),
        ({"rate": 2, "burstiness": "constant"}, [("rate 2, constant", 2.0, "rate", 10, 100)]),
        ({"ramp": {"from": 1, "to": 3, "seconds": 60}}, [("ramp 1 to 3", 2.0, "ramp", 0, 120)]),
        ({"trace": {"file": "log.csv"}}, [("trace", 1.0, "trace", 3, 22)]),
        ({"trace": {"file": "log.csv", "speed": 4}}, [("trace, speed 4", 4.0, "trace", 3, 22)]),
        ({"trace": {"file": "log.csv", "replay": False}}, []),
    ],
)
def test_load_levels_of_arrivals(fields, levels):
    log = tuple(Request(float(second), 8, 8) for second in range(25))
    found = open_loads(parse_workload(OPEN | fields), log)
    assert [(one.name, one.rate, one.arrival_kind, one.warmup, one.requests) for one in found] == levels
    assert all(one.concurrency is None for one in found)


def test_lengths_have_ends_three_standard_deviations_away():
    workload = parse_workload(OPEN | {"prompt_tokens": {"mean": 100, "stdev": 20}, "output_tokens": {"mean": 10, "stdev": 9}})
    assert workload.prompt_tokens == Lengths(mean=100, stdev=20, min=40, max=160)
    assert workload.output_tokens == Lengths(mean=10, stdev=9, min=1, max=37)
    assert workload.longest_request == 197
    with pytest.raises(UserError, match="160 \\+ 37 = 197"):
        check_context(workload, 196)


def test_one_request_at_a_time_is_measured_once():
    assert parse_workload(OPEN | {"concurrency": [1, 2]}).concurrency == (2,)
    assert parse_workload(OPEN | {"concurrency": [1], "synchronous": False}).concurrency == (1,)


def test_a_workload_at_some_of_its_loads_and_at_those_of_two_together():
    fields = {
        "name": "a", "prompt_tokens": 8, "output_tokens": 8, "concurrency": [2, 4], "rate": [1, 3], "burstiness": 0.5,
        "ramp": {"from": 1, "to": 2, "seconds": 9}, "slo": {"ttft": {"seconds": 1}}, "capacity": {},
    }  # fmt: skip
    whole = parse_workload(fields)
    one = whole.at(Loads(in_flight=(1, 4), rates=(3.0,)))
    assert (one.synchronous, one.concurrency, one.rates, one.burstiness) == (False, (1, 4), (3.0,), 0.5)
    assert (one.ramp, one.capacity, one.slo) == (None, None, whole.slo)
    other = whole.at(Loads(in_flight=(2,), ramp=True, capacity=True))
    assert (other.rates, other.burstiness, other.ramp, other.capacity) == ((), None, whole.ramp, whole.capacity)
    every = Loads(in_flight=(1, 2, 4), rates=(3.0,), ramp=True, capacity=True)
    assert one.together(other) == other.together(one) == whole.at(every)
    assert whole.together(whole) == whole, "an auto sweep stays one"


def test_what_is_not_given_is_not_in_its_json():
    """So that keys of steps are those of before these fields."""
    fields = parse_workload(OPEN).model_dump(mode="json")
    assert list(fields) == [
        "name", "prompt_tokens", "output_tokens", "synchronous", "concurrency", "requests_per_stream", "rate", "rate_requests",
        "slo",
    ]  # fmt: skip
    given = parse_workload(OPEN | {"ramp": {"from": 1, "to": 3, "seconds": 60}, "prompts": "p.jsonl"})
    assert type(given).model_validate(given.model_dump(mode="json")) == given


@pytest.mark.parametrize(
    ("entry", "message", "remedy"),
    [
        ("demo-chta", "'demo-chta'", "did you mean demo-chat?"),
        ({"name": "Mine", "prompt_tokens": 8, "output_tokens": 8}, "workload.name = 'Mine'", "hyphens"),
        ({"name": "a", "prompt_tokens": 0, "output_tokens": 8}, "workload.prompt_tokens = 0", "greater than or equal to 4"),
        ({"name": "a", "output_tokens": 8}, "workload.prompt_tokens is missing", "prompt_tokens"),
        ({"name": "a", "prompt_tokens": 8, "output_tokns": 8}, "workload.output_tok", "output_tokens"),
        (
            {"name": "a", "prompt_tokens": 8, "output_tokens": 8, "requests_per_stream": 4},
            "workload.requests_per_stream = 4",
            "5",
        ),
        (
            {"name": "a", "prompt_tokens": 8, "output_tokens": 8, "requests_per_stream": 10**9},
            "workload.requests_per_stream",
            "1000",
        ),
        ({"name": "a", "prompt_tokens": 8, "output_tokens": 8, "rate": float("inf")}, "workload.rate = inf", "finite"),
        ({"name": "a", "prompt_tokens": 8, "output_tokens": 8, "concurrency": [9999]}, "workload.concurrency.0 = 9999", "4096"),
        ({"name": "a", "prompt_tokens": 8, "output_tokens": 8, "concurrency": [4, 2]}, "workload.concurrency", "ascending"),
        ({"name": "a", "prompt_tokens": 8, "output_tokens": 8, "slo": {}}, "workload.slo", "at least one"),
        ({"name": "a", "prompt_tokens": 8, "output_tokens": 8, "synchronous": False, "concurrency": []}, "workload", "nothing"),
        (
            {"name": "a", "prompt_tokens": 8, "output_tokens": 8, "slo": {"ttft": {"seconds": -1}}},
            "workload.slo.ttft.seconds",
            "0",
        ),
        (OPEN | {"prompt_tokens": {"mean": 50, "stdev": -1}}, "workload.prompt_tokens.stdev = -1", "0"),
        (
            OPEN | {"prompt_tokens": {"mean": 50, "stdev": 1, "max": 40}},
            "workload.prompt_tokens",
            "min, mean and max in this order",
        ),
        (OPEN | {"prompt_tokens": {"mean": 50, "std": 1}}, "workload.prompt_tokens.std", "stdev"),
        (OPEN | {"rate": [4, 2]}, "workload.rate", "ascending"),
        (OPEN | {"rate": "fast"}, "workload.rate", "number"),
        (OPEN | {"rate": 4, "burstiness": "even"}, "workload.burstiness", "constant"),
        (OPEN | {"burstiness": 0.5}, "workload", "give the rate"),
        (OPEN | {"ramp": {"from": 1, "to": 0, "seconds": 9}}, "workload.ramp.to", "0"),
        (OPEN | {"ramp": {"from": 1, "to": 2}}, "workload.ramp.seconds is missing", "seconds"),
        (OPEN | {"trace": {"file": "a.csv", "sped": 2}}, "workload.trace.sped", "speed"),
        (OPEN | {"trace": {"file": "a.csv"}, "prompts": "b.jsonl"}, "workload", "one of the two"),
        (OPEN | {"shared_prefix_tokens": 8}, "workload", "share fewer"),
    ],
)
def test_mistakes_name_field_value_and_remedy(entry, message, remedy):
    with pytest.raises(UserError) as caught:
        parse_workload(entry)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_context_of_the_model():
    rag = named_workloads()["rag"]
    check_context(rag, 1152)
    with pytest.raises(UserError, match="1024 \\+ 128 = 1152 tokens; the model's context holds 1151"):
        check_context(rag, 1151)
