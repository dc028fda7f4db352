"""The endpoint against a real server, whose model transformers runs as well."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from whichbits.engines.emulation.model import Emulated
from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.http.prometheus import read_metrics
from whichbits.engines.http.requests import HttpClient
from whichbits.engines.http.retry import NO_PATIENCE
from whichbits.engines.vllm.server import Server, free_port

pytestmark = pytest.mark.server
LENGTH = 512


@pytest.fixture
def endpoint(served: Server) -> Iterator[Endpoint]:
    with Endpoint(f"{served.url}/v1", served.model, max_length=LENGTH, concurrency=4) as found:
        yield found


@pytest.fixture(scope="module")
def local(tiny_llama: Path) -> Emulated:
    return Emulated(tiny_llama, threads=1, batch_tokens=400)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[list[int], list[int]]]:
    draw = random.Random(0)
    numbers = [(draw.randrange(1, 60), draw.randrange(1, 9)) for _ in range(40)]
    return [([draw.randrange(3, 40_000) for _ in range(a)], [draw.randrange(3, 40_000) for _ in range(b)]) for a, b in numbers]


def test_loglikelihoods_are_those_of_transformers(endpoint: Endpoint, local: Emulated, pairs) -> None:
    served = [total for total, _ in endpoint.loglikelihood(pairs)]
    assert served == pytest.approx([total for total, _ in local.loglikelihood(pairs)], abs=0.05)


def test_the_last_token_scores_the_same_in_the_echo(endpoint: Endpoint, served: Server, pairs) -> None:
    """What another OpenAI-compatible server would be asked: everything by echo."""
    fast = endpoint.loglikelihood(pairs)
    plain = Endpoint(served.url, served.model, max_length=LENGTH, concurrency=4)
    plain._given = False
    slow = plain.loglikelihood(pairs)
    assert [total for total, _ in fast] == pytest.approx([total for total, _ in slow], abs=0.05)
    assert [greedy for _, greedy in fast] == [greedy for _, greedy in slow]


def test_greedy_is_recognized(endpoint: Endpoint, local: Emulated, pairs) -> None:
    """On contexts where two steps are clear, so that no rounding turns the choice."""
    import torch

    found = 0
    for context, _ in pairs:
        best, clear = [], True
        for _ in range(2):
            top = local.logits(torch.tensor([*context, *best]))[-1].topk(2)
            clear &= bool(top.values[0] - top.values[1] > 0.1)
            best.append(int(top.indices[0]))
        if clear:
            found += 1
            first, second = best
            cases = [[first], [first + 1], [first, second], [first, second + 1], [first + 1, second]]
            greedy = [greedy for _, greedy in endpoint.loglikelihood([(context, case) for case in cases])]
            assert greedy == [True, False, True, False, False]
    assert found >= 3


def test_next_token_logprobs(endpoint: Endpoint, local: Emulated, pairs) -> None:
    contexts = [context for context, _ in pairs[:10]]
    choices = [list(range(100, 100 + 7 * (number + 1))) for number in range(9)] + [list(range(5, 305))]
    for mine, theirs in zip(
        endpoint.next_token_logprobs(contexts, choices), local.next_token_logprobs(contexts, choices), strict=True
    ):
        assert mine == pytest.approx(theirs, abs=0.05)


def test_full_length_is_scored_and_more_is_refused(endpoint: Endpoint, local: Emulated) -> None:
    full = [([7] * 500, [9] * 12)]
    assert endpoint.loglikelihood(full)[0][0] == pytest.approx(local.loglikelihood(full)[0][0], abs=0.1)
    with pytest.raises(ValueError, match="500 tokens of context and 13 more exceed"):
        endpoint.loglikelihood([([7] * 500, [9] * 13)])
    assert endpoint.generate([[7] * 500], max_tokens=12)[0].tokens <= 12
    with pytest.raises(ValueError, match="exceed"):
        endpoint.generate([[7] * 500], max_tokens=13)


def test_greedy_texts(endpoint: Endpoint, local: Emulated, pairs) -> None:
    """Of a random model in BF16 near ties are common, and one flip changes all that follows."""
    prompts = [context for context, _ in pairs]
    served = endpoint.generate(prompts, max_tokens=8)
    assert served == endpoint.generate(prompts, max_tokens=8)
    own = local.generate(prompts, max_tokens=8)
    assert sum(a.text == b.text for a, b in zip(served, own, strict=True)) >= 0.7 * len(prompts)
    assert all(text.tokens == 8 and text.finish_reason == "length" for text in served if text.finish_reason != "stop")


def test_stop_strings(endpoint: Endpoint) -> None:
    prompt = [100, 200, 300]
    (free,) = endpoint.generate([prompt], max_tokens=12)
    stop = free.text[len(free.text) // 2 :][:3]
    (stopped,) = endpoint.generate([prompt], max_tokens=12, stop=[stop, *"\0\1\2\3\4\5"])
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_what_the_server_refuses_is_one_line(endpoint: Endpoint) -> None:
    with pytest.raises(EngineError, match="400") as caught:
        endpoint.generate([[10**8]], max_tokens=2)
    assert "\n" not in str(caught.value)


def test_prefix_cache_is_off(endpoint: Endpoint, served: Server) -> None:
    endpoint.generate([[11] * 300] * 3, max_tokens=1)
    with HttpClient(Connection(served.url)) as client:
        found = read_metrics(client)
    assert found["vllm:prefix_cache_hits_total"] == 0


def test_a_crash_of_the_engine_gives_the_cause(endpoint: Endpoint, served: Server) -> None:
    assert served._process is not None
    processes = psutil.Process(served._process.pid).children(recursive=True)  # not those of other tests' servers
    (core,) = [process for process in processes if "EngineCor" in process.name()]
    assert endpoint.generate([[5, 6, 7]], max_tokens=2)[0].tokens == 2
    core.kill()
    with pytest.raises(EngineError):
        endpoint.generate([[5, 6, 7]], max_tokens=2)
    deadline = time.monotonic() + 30
    while (failure := served.failure()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert failure is not None
    assert "Engine" in failure
    assert psutil.wait_procs(processes, timeout=20)[1] == []


def test_no_server() -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{free_port()}", "x", max_length=8, concurrency=1, patience=NO_PATIENCE)
    with pytest.raises(EngineError, match="no connection"):
        endpoint.generate([[1]], max_tokens=1)


NEUTRAL = {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "n": 1}
OWN_OF_ENGINES = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "repeat_penalty": 1.0}


def test_nothing_of_sampling_is_left_to_the_server(fake) -> None:
    server = fake()
    with Endpoint(server.url, "m", max_length=64, concurrency=1) as endpoint:
        endpoint.generate([[1, 2]], max_tokens=4)
        endpoint.loglikelihood([([1, 2], [3])])
    for request in server.received:
        assert request["temperature"] == 0.0
        assert {**NEUTRAL, **OWN_OF_ENGINES}.items() <= request.items()


def test_every_prompt_has_its_own_seed(fake) -> None:
    server = fake()
    with Endpoint(server.url, "m", max_length=64, concurrency=1) as endpoint:
        endpoint.generate([[1, 2], [3]], max_tokens=4, temperature=0.6, top_p=0.95, seed=[8, 9])
    asked = {tuple(one["prompt"]): (one["temperature"], one["top_p"], one["seed"]) for one in server.received}
    assert asked == {(1, 2): (0.6, 0.95, 8), (3,): (0.6, 0.95, 9)}


def test_a_server_that_knows_only_openais_parameters_is_asked_with_those(fake) -> None:
    server = fake(unknown=frozenset(OWN_OF_ENGINES))
    with Endpoint(server.url, "m", max_length=64, concurrency=1) as endpoint:
        assert len(endpoint.generate([[1, 2], [3]], max_tokens=4)) == 2
    assert [NEUTRAL.items() <= request.items() for request in server.received] == [True] * 3
    assert ["top_k" in request for request in server.received] == [True, False, False]
