"""A server whose answers are not the model's is refused in one line; nothing it says is scored in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import whichbits
from whichbits.studies.specification.schema import Specification
from whichbits.verdict.verdict import Verdict
from whichbits.verdict.words.caveats import caveats
from whichbits.verdict.words.decisions import failure

Answer = dict[str, Any]


def likelihoods(change: Callable[[float], float]) -> Callable[[Answer, Answer], None]:
    """Damage of all log-probabilities of an answer."""

    def damage(answer: Answer, request: Answer) -> None:
        given = answer["choices"][0]["logprobs"]
        if given is not None:
            given["token_logprobs"] = [None if value is None else change(value) for value in given["token_logprobs"]]
            given["top_logprobs"] = [
                top and {name: change(value) for name, value in top.items()} for top in given["top_logprobs"]
            ]

    return damage


def by_one(answer: Answer, request: Answer) -> None:
    """Log-probabilities of the position before."""
    given = answer["choices"][0]["logprobs"]
    if given is not None:
        given["token_logprobs"] = [None, *given["token_logprobs"][:-1]]


def other_tokens(answer: Answer, request: Answer) -> None:
    given = answer["choices"][0]["logprobs"]
    if given is not None and request.get("echo"):
        given["tokens"] = ["token_id:7" for _ in given["tokens"]]


def cut_prompt(answer: Answer, request: Answer) -> None:
    answer["usage"]["prompt_tokens"] -= 1


def two_starts(answer: Answer, request: Answer) -> None:
    """As a server that puts a start of text before every prompt counts."""
    answer["usage"]["prompt_tokens"] += 1


def cut_text(answer: Answer, request: Answer) -> None:
    if request["max_tokens"] > 1:
        answer["choices"][0]["text"] = answer["choices"][0]["text"][:1]
        answer["usage"]["completion_tokens"] = 1


def no_text(answer: Answer, request: Answer) -> None:
    answer["choices"][0]["text"] = None


def no_choice(answer: Answer, request: Answer) -> None:
    answer["choices"] = []


def an_error(answer: Answer, request: Answer) -> None:
    answer.clear()
    answer["error"] = {"message": "the engine is dead"}


def exchanged(answer: Answer, request: Answer) -> None:
    """Damage that is done to the server itself, below."""


DAMAGES: dict[str, tuple[Callable[[Answer, Answer], None], str]] = {
    "log-probabilities are not numbers": (likelihoods(lambda value: float("nan")), "nan|finite|JSON|number"),
    "log-probabilities are positive": (likelihoods(lambda value: -value), "log-prob"),
    "log-probabilities are all zero": (likelihoods(lambda value: 0.0), "log-prob"),
    "log-probabilities are all the same": (likelihoods(lambda value: -1.5), "log-prob"),
    "log-probabilities are too low": (likelihoods(lambda value: value - 0.7), "log-prob"),
    "log-probabilities are those of the token before": (by_one, "log-prob"),
    "other tokens come back": (other_tokens, "token|echo"),
    "the prompt is cut": (cut_prompt, "prompt"),
    "the start of text is doubled": (two_starts, "prompt"),
    "there is no choice": (no_choice, "choice"),
    "an error comes as an answer": (an_error, "engine is dead"),
    "texts are cut": (cut_text, "token|cut|length"),
    "texts are missing": (no_text, "text"),
    "the server is of another model": (exchanged, "log-prob"),
    "the server is of another format": (exchanged, "log-prob"),
    "the server is of 8-bit floats": (exchanged, "log-prob"),
    "the server computes in FP16": (exchanged, "fp16"),
    "the server is exchanged meanwhile": (exchanged, "changed|anew"),
}


def random_weights(model: Any) -> None:
    """Other weights of the same spread."""
    torch.manual_seed(7)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=float(parameter.float().std()))


def four_bits(model: Any) -> None:
    """Weights rounded to 4 bits, behind an address that should serve 16."""
    for parameter in model.parameters():
        if parameter.dim() == 2:
            scale = parameter.float().abs().amax(1, keepdim=True) / 7
            parameter.copy_((parameter.float() / scale).round() * scale)


def eight_bit_floats(model: Any) -> None:
    """Weights rounded to FP8 (E4M3), a scale a row, behind an address that should serve 16 bit."""
    for parameter in model.parameters():
        if parameter.dim() == 2:
            scale = parameter.float().abs().amax(1, keepdim=True) / 448
            parameter.copy_((parameter.float() / scale).to(torch.float8_e4m3fn).float() * scale)


def exchange_after(server: Any, answers: int) -> None:
    """Let the server seem started anew after so many answers."""
    left = iter(range(answers))

    def damage(answer: Answer, request: Answer) -> None:
        if next(left, None) is None:
            server.started = 99.0

    server.damage = damage


@pytest.fixture(scope="module")
def verdict(
    small_model: Path, own_choices: Path, serve: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> Verdict:
    """The verdict of one study in which each damaged server is a candidate."""
    folder = tmp_path_factory.mktemp("servers")
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"prompt": f"count {n}", "target": str(n)}) + "\n" for n in range(8)), encoding="utf-8")
    urls = {"bf16": serve(small_model).url, "undamaged": serve(small_model).url}
    for name, (damage, _) in DAMAGES.items():
        server = serve(small_model)
        server.damage = damage
        urls[name] = server.url
        with torch.no_grad():
            match name:
                case "the server is of another model":
                    random_weights(server.model)
                case "the server is of another format":
                    four_bits(server.model)
                case "the server is of 8-bit floats":
                    eight_bit_floats(server.model)
                case "the server computes in FP16":
                    server.model.to(torch.float16)
                case "the server is exchanged meanwhile":
                    exchange_after(server, 60)
    outcome = whichbits.study(
        Specification.model_validate(
            {
                "version": 1,
                "name": "servers",
                "model": str(small_model),
                "margin": 0.1,
                "candidates": [{"checkpoint": str(small_model), "name": name} for name in urls if name != "bf16"],
                "tasks": [
                    {"name": "own", "jsonl": str(own_choices), "limit": 20},
                    {"name": "texts", "jsonl": str(texts), "max_tokens": 8},
                ],
                "base_repeats": 1,
                "engine": {"kind": "url", "urls": urls},
            }
        ),
        store=folder / "store",
        quiet=True,
    )
    return outcome.verdict


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_damaged_server_is_refused_in_words(name: str, verdict: Verdict):
    state = next(decision.state for decision in verdict.formats if decision.candidate == name)
    lines = [line for line in (*map(failure, verdict.failures), *caveats(verdict)) if name in line]
    assert state in ("failed", "inferior", "inconclusive")
    assert any(re.search(DAMAGES[name][1], line.replace(name, ""), re.IGNORECASE) for line in lines), lines


def test_an_undamaged_server_is_scored_as_its_own_model(verdict: Verdict):
    assert not [one for one in verdict.failures if {"undamaged", "bf16"} & set(one.labels.values())]
    scores = {task.task: (task.base_score, task.score) for task in verdict.tasks if task.candidate == "undamaged"}
    assert scores["own"] == (1.0, 1.0)


def test_a_quantized_model_is_scored_at_an_address(
    small_quantized: Path, own_choices: Path, serve: Callable[[Path], Any], tmp_path: Path
):
    """Its name is its format's, which the command need not know."""
    url = serve(small_quantized).url
    (row,) = whichbits.evaluate(str(small_quantized), [str(own_choices)], url=url, limit=8, store=tmp_path)
    assert row.n == 8 and row.weights is not None and row.weights.same
