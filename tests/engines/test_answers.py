"""What comes back is checked against what was asked: an endpoint of a server that errs in one way at a time."""

from __future__ import annotations

import runpy
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.engines.errors import EngineError
from whichbits.engines.http.access import Access
from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.http.retry import NO_PATIENCE, Patience

logprob = runpy.run_path(str(Path(__file__).parent / "fake_server.py"))["logprob"]
PAIRS = [([1, 2, 3], [4, 5]), ([1, 2, 3], [6, 7]), ([9], [3]), ([9], [4]), ([5, 5], [1, 2, 3, 4])]
TOTALS = [sum(logprob([*context, *more[:place]], more[place]) for place in range(len(more))) for context, more in PAIRS]


def endpoint(server: Any, **options: Any) -> Endpoint:
    return Endpoint(server.url, "m", **{"max_length": 64, "concurrency": 2, "patience": NO_PATIENCE, **options})


def choice(change):
    """A change of the answer's one choice."""
    return lambda body, request: change(body["choices"][0], request)


def logprobs(change):
    """A change of the answer's log-probabilities, where there are some."""
    return lambda body, request: change(body["choices"][0]["logprobs"], request) if body["choices"][0]["logprobs"] else None


@pytest.mark.parametrize("given", [True, False])
def test_loglikelihoods_are_those_of_the_server(fake, given: bool) -> None:
    found = endpoint(fake(given=given)).loglikelihood(PAIRS)
    assert [total for total, _ in found] == pytest.approx(TOTALS)
    best = max(range(16), key=lambda token: logprob([1, 2], token))
    assert endpoint(fake(given=given)).loglikelihood([([1, 2], [best]), ([1, 2], [best + 1]), ([7], [])])[0][1]


def test_given_tokens(fake) -> None:
    (row,) = endpoint(fake()).next_token_logprobs([[1, 2]], [[3, 4, 3]])
    assert row == pytest.approx([logprob([1, 2], token) for token in (3, 4, 3)])
    with pytest.raises(EngineError, match="logprob_token_ids"):
        endpoint(fake(given=False)).next_token_logprobs([[1, 2]], [[3, 4]])


def shifted_own(found, request):
    own = found["token_logprobs"]
    found["token_logprobs"] = [own[0], *own[2:], own[-1]] if len(own) > 2 else [-7.0]


def shifted_all(found, request):
    for name in ("token_logprobs", "top_logprobs"):
        if len(found[name]) > 2:
            found[name] = [None, *found[name][2:], found[name][-1]]


def left(found, request):
    if found["token_logprobs"][0] is None:
        found["token_logprobs"] = [-1.0, *found["token_logprobs"][1:]]


def other_tokens(found, request):
    if len(found["tokens"]) > 1:
        found["tokens"][1] = "token_id:12345"


def one_more(found, request):
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        if len(found[name]) > 1:
            found[name].insert(1, found[name][1])


def generated_only(found, request):
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        found[name][:-1] = []


def every(value):
    def change(found, request):
        found["token_logprobs"] = [None if own is None else value for own in found["token_logprobs"]]
        found["top_logprobs"] = [top and dict.fromkeys(top, value) for top in found["top_logprobs"]]

    return change


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (every(0.0), "no distribution|same log-probability"),
        (every(-0.01), "no distribution|same log-probability"),
        (every(-3.0), "same log-probability"),
        (every(float("nan")), "not finite"),
        (every(float("-inf")), "not finite"),
        (every(-9999.0), "not finite"),
        (every(-(10**400)), "not finite"),
        (every(0.7), "above 0"),
        (every("-1.0"), "as a log-probability"),
        (shifted_own, "shifted"),
        (shifted_all, "shifted"),
        (left, "first token"),
        (other_tokens, "12345"),
        (one_more, "place|log-probabilities of output"),
        (generated_only, "echo|log-probabilities of output"),
        (lambda found, request: found.update(top_logprobs=None), "top_logprobs|logprob_token_ids|likeliest"),
        (lambda found, request: found["token_logprobs"].append(-1.0), "log-probabilities for"),
        (
            lambda found, request: found.update(content=[{"token": "x", "logprob": -1.0, "top_logprobs": [7]}]),
            "likeliest tokens",
        ),
        (lambda found, request: found.clear(), "does not return log-probabilities"),
    ],
)
def test_wrong_log_probabilities_are_an_error(fake, given: bool, change, word: str) -> None:
    with pytest.raises(EngineError, match=word):
        endpoint(fake(given=given, change=logprobs(change))).loglikelihood(PAIRS)


def test_certainty_for_each_of_two_choices_is_of_no_distribution(fake) -> None:
    server = fake(change=logprobs(every(0.0)))
    with pytest.raises(EngineError, match=r"probability of 2\.00"):
        endpoint(server).loglikelihood([([1], [2]), ([1], [3])])
    with pytest.raises(EngineError, match=r"probability of 2\.00"):
        endpoint(server).next_token_logprobs([[1]], [[2, 3]])


def test_llama_cpps_form_is_read_and_what_it_lacks_is_said(fake) -> None:
    content = [{"id": 7, "token": " x", "logprob": -0.1, "top_logprobs": [{"id": 7, "token": " x", "logprob": -0.1}]}]
    server = fake(change=choice(lambda one, request: one.update(logprobs={"content": content} if one["logprobs"] else None)))
    with pytest.raises(EngineError, match="prompt's tokens"):
        endpoint(server).loglikelihood(PAIRS)


def test_texts_instead_of_ids_are_compared_with_the_tokenizer(fake) -> None:
    class Tokenizer:
        def decode(self, token_ids):
            return f" t{token_ids[0]}"

        def encode(self, text, *, add_special_tokens):
            return text.split()

        def convert_ids_to_tokens(self, ids):
            return f"\u0120t{ids}"

    def named(write):
        def change(found, request):
            found["tokens"] = [write(int(name.removeprefix("token_id:"))) for name in found["tokens"]]

        return logprobs(change)

    for write in (
        lambda token: f" t{token}",
        lambda token: f"t{token}",
        lambda token: f"\u0120t{token}",
        lambda token: "\ufffd",
    ):
        found = endpoint(fake(given=False, change=named(write)), tokenizer=Tokenizer).loglikelihood(PAIRS)
        assert [total for total, _ in found] == pytest.approx(TOTALS)
    with pytest.raises(EngineError, match="'t2'"):
        endpoint(fake(given=False, change=named(lambda token: f"t{token + 1}")), tokenizer=Tokenizer).loglikelihood(PAIRS)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda body, request: body.update(choices=[]), "0 choices"),
        (lambda body, request: body.update(choices=None), "no list of choices"),
        (lambda body, request: body.update(choices=body["choices"] * 2), "2 choices"),
        (lambda body, request: body["usage"].update(prompt_tokens=2), "2 tokens of prompt where 3"),
        (lambda body, request: body["usage"].update(completion_tokens=99), "99 tokens of output"),
        (lambda body, request: body["usage"].update(completion_tokens="3"), "completion_tokens '3'"),
        (lambda body, request: body.pop("usage") and None, "usage"),
        (lambda body, request: body["usage"].update(completion_tokens=0), "no token of output"),
        (choice(lambda one, request: one.update(text=None)), "text null"),
        (choice(lambda one, request: one.update(text=["a"])), "list instead of a text"),
        (choice(lambda one, request: one.update(text="", reasoning_content="Let me think")), "reasoning_content"),
        (choice(lambda one, request: one.update(finish_reason="abort")), "'abort'"),
        (choice(lambda one, request: one.update(finish_reason="content_filter")), "'content_filter'"),
        (choice(lambda one, request: one.update(finish_reason=None)), "finish_reason None"),
        (choice(lambda one, request: one.update(index=3)), "choice 3"),
        (lambda body, request: {"error": {"message": "out of memory"}}, "answered 200: out of memory"),
        (lambda body, request: {"object": "error", "message": "no such model"}, "no such model"),
        (lambda body, request: "<html><body>Sign in</body></html>", "a web page.*Sign in"),
        (lambda body, request: '{"choices": [{"text": "a', "not JSON"),
        (lambda body, request: "[]", "instead of a JSON object"),
        (lambda body, request: "", "not JSON"),
    ],
)  # fmt: skip
def test_wrong_answers_are_an_error(fake, change, word: str) -> None:
    with pytest.raises(EngineError, match=word):
        endpoint(fake(change=change)).generate([[1, 2, 3]], max_tokens=8)


def test_empty_and_broken_texts(fake) -> None:
    def empty(body, request):
        body["choices"][0]["text"] = None
        body["usage"]["completion_tokens"] = 0

    assert endpoint(fake(change=empty)).generate([[1]], max_tokens=8)[0].text == ""
    server = fake(change=lambda body, request: '{"choices": [{"text": "\\ud83d one", "finish_reason": "eos_token"}]}')
    (made,) = endpoint(server, tokenizer=lambda: Words()).generate([[1]], max_tokens=8)
    assert made.text == "\ufffd one" and made.finish_reason == "stop" and made.tokens == 2


class Words:
    def encode(self, text, *, add_special_tokens):
        return text.split()


def test_tokens_that_the_server_does_not_count_are_counted_by_the_tokenizer(fake) -> None:
    model = endpoint(fake(change=lambda body, request: body.pop("usage") and None), tokenizer=lambda: Words())
    (made,) = model.generate([[1, 2, 3]], max_tokens=8)
    assert made.tokens == 3 and model.counted


def test_answers_of_several_models(fake) -> None:
    server = fake(change=lambda body, request: body.update(model=f"m{sum(request['prompt']) % 2}"))
    with pytest.raises(EngineError, match="several models: m"):
        endpoint(server).generate([[1], [2], [3]], max_tokens=2)


@pytest.mark.parametrize("status", [429, 502, 503, 504, -1])
def test_passing_refusals_are_waited_out(fake, status: int) -> None:
    server = fake(refusals=[status, status])
    found = endpoint(server, patience=Patience(0.01, 0.05, 5.0)).generate([[1], [2]], max_tokens=2)
    assert len(found) == 2 and len(server.received) == 4


def test_retry_after_is_obeyed(fake) -> None:
    server, began = fake(refusals=[429], retry_after="1"), time.monotonic()
    endpoint(server, patience=Patience(0.01, 0.05, 5.0)).generate([[1]], max_tokens=2)
    assert time.monotonic() - began >= 1.0


def test_lasting_refusals_end_with_the_servers_words(fake) -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"429: busy 429 \(2 of 4 requests were answered\)"):
        endpoint(fake(refusals=[None, None, *[429] * 99]), concurrency=1, patience=Patience(0.01, 0.05, 0.2)).generate(
            [[1], [2], [3], [4]], max_tokens=2
        )
    with pytest.raises(EngineError, match="503"):
        endpoint(fake(refusals=[503] * 9, retry_after="3600")).generate([[1]], max_tokens=2)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_other_refusals_are_not_tried_again(fake, status: int) -> None:
    server = fake(refusals=[status])
    with pytest.raises(EngineError, match=f"{status}: busy {status}"):
        endpoint(server, patience=Patience(0.01, 0.05, 5.0)).generate([[1]], max_tokens=2)
    assert len(server.received) == 1


def test_a_capability_is_asked_once_and_again_after_a_passing_failure(fake) -> None:
    def probes(server) -> int:
        return sum(request["prompt"] == [0] for request in server.received)

    server = fake()
    assert [total for total, _ in endpoint(server, concurrency=4).loglikelihood(PAIRS)] == pytest.approx(TOTALS)
    assert probes(server) == 1 and len(server.received) == len(PAIRS), "two choices of one token are one request"
    server = fake(refusals=[503])
    model = endpoint(server, concurrency=1)
    with pytest.raises(EngineError, match="503"):
        model.loglikelihood(PAIRS)
    assert [total for total, _ in model.loglikelihood(PAIRS)] == pytest.approx(TOTALS)
    assert probes(server) == 2 and any("logprob_token_ids" in request for request in server.received[2:])
    server = fake(refusals=[400])
    assert [total for total, _ in endpoint(server).loglikelihood(PAIRS)] == pytest.approx(TOTALS)
    assert not any("logprob_token_ids" in request for request in server.received[1:])


def test_the_key_is_sent_and_what_lacks_it_says_so(fake) -> None:
    server = fake(key="sk-hush")
    assert endpoint(server, access=Access("sk-hush\n")).generate([[1]], max_tokens=2)
    with pytest.raises(EngineError, match=r"401.*OPENAI_API_KEY") as caught:
        endpoint(server, access=Access("sk-other")).generate([[1]], max_tokens=2)
    assert "sk-" not in str(caught.value)


def test_a_server_that_takes_no_token_ids_is_told_what_is_sent(fake) -> None:
    server = fake(refusals=[400])
    with pytest.raises(EngineError, match="token ids"):
        endpoint(server).generate([[1]], max_tokens=2)


def test_the_only_model_is_asked_for(fake) -> None:
    server = fake(models=[{"id": "acme/Tiny"}])
    with Endpoint(server.url, None, max_length=64, concurrency=1) as model:
        model.generate([[1]], max_tokens=2)
    assert server.received[0]["model"] == "acme/Tiny"
    with pytest.raises(UserError, match="2 models"):
        Endpoint(fake(models=[{"id": "a"}, {"id": "b"}]).url, None, max_length=64, concurrency=1)


def test_a_server_that_is_replaced_meanwhile_is_an_error(fake) -> None:
    server = fake()
    with Endpoint(server.url, "m", max_length=64, concurrency=1, watch=True) as model:
        model.generate([[1]], max_tokens=2)
    with (
        pytest.raises(EngineError, match=r"changed meanwhile.*org/other"),
        Endpoint(server.url, "m", max_length=64, concurrency=1, watch=True) as model,
    ):
        model.generate([[1]], max_tokens=2)
        server.models = [{"id": "m", "owned_by": "vllm", "max_model_len": 64, "root": "org/other"}]


def test_a_proxy_of_the_environment_is_not_for_this_machine(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert endpoint(fake()).generate([[1]], max_tokens=2)


@pytest.mark.parametrize("place", range(4))
def test_an_error_does_not_wait_for_the_patience_of_others(fake, place: int) -> None:
    server = fake(refusals=[*[503] * place, 400, *[503] * 50])
    began, threads = time.monotonic(), threading.active_count()
    with pytest.raises(EngineError):
        endpoint(server, concurrency=4, patience=Patience(5.0, 16.0, 60.0)).generate([[n] for n in range(1, 5)], max_tokens=2)
    assert time.monotonic() - began < 4
    assert threading.active_count() < threads + 15
