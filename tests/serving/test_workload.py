from __future__ import annotations

import pytest

from whichbits.core.errors import UserError
from whichbits.serving.workload import at_concurrency, at_rate, check_context, named_workloads, parse_workload


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
    arrivals = at_rate(workload, 2.5)
    assert (arrivals.name, arrivals.concurrency, arrivals.warmup, arrivals.requests) == ("rate 2.5", None, 10, 100)


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
