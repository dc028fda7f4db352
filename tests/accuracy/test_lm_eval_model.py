"""What lm-evaluation-harness's model object refuses, and where it cuts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from whichbits.accuracy.lm_eval_model import LmEvalModel
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError

pytest.importorskip("lm_eval")


@dataclass(frozen=True)
class Said:
    text: str
    tokens: int = 3
    finish_reason: str = "stop"


class Scripted:
    """Answers with one text, and remembers how it was asked."""

    max_length = 40

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.asked: list[dict[str, Any]] = []

    def loglikelihood(self, pairs):
        return [(-1.0, False)] * len(pairs)

    def generate(self, prompts, **how):
        self.asked.append({"prompts": prompts, **how})
        return [Said(self.text)] * len(prompts)


def ask(model: Scripted, tokenizer: Path, *arguments: dict[str, Any], max_gen_toks: int | None = None) -> list[str]:
    from lm_eval.api.instance import Instance

    requests = [
        Instance(request_type="generate_until", doc={}, arguments=(f"prompt {n}", one), idx=0)
        for n, one in enumerate(arguments)
    ]
    lm = LmEvalModel(model, PromptTokenizer(tokenizer), max_gen_toks=max_gen_toks, seed=1, task="mine")
    return lm.generate_until(requests)


def test_stop_strings_beyond_the_engines_are_applied(tiny_llama: Path) -> None:
    model = Scripted("one two STOP three")
    stops = ["a!", "b!", "c!", "d!", "STOP"]
    assert ask(model, tiny_llama, {"until": stops, "max_gen_toks": 8}) == ["one two "]
    assert model.asked[0]["stop"] == ("a!", "b!", "c!", "d!")


def test_no_limit_on_length_is_an_error(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="no limit"):
        ask(Scripted(), tiny_llama, {"until": ["."]})
    assert ask(Scripted("x"), tiny_llama, {"until": ["."]}, max_gen_toks=4) == ["x"]


def test_the_tasks_own_limit_wins(tiny_llama: Path) -> None:
    model = Scripted()
    ask(model, tiny_llama, {"until": [], "max_new_tokens": 9}, max_gen_toks=4)
    assert model.asked[0]["max_tokens"] == 9


def test_too_long_is_an_error_not_a_cut(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match=r"3 prompt tokens, which with 38 tokens .* longer than the engine's 40"):
        ask(Scripted(), tiny_llama, {"until": [], "max_gen_toks": 38})


def test_unknown_generation_arguments_are_an_error(tiny_llama: Path) -> None:
    with pytest.raises(UserError, match="min_p"):
        ask(Scripted(), tiny_llama, {"until": [], "max_gen_toks": 4, "min_p": 0.9})


@pytest.mark.parametrize(
    ("arguments", "temperature"),
    [
        ({}, 0.0),
        ({"do_sample": False, "temperature": 0.7}, 0.0),
        ({"do_sample": True, "temperature": 0.7}, 0.7),
        ({"temperature": 0.2}, 0.2),
    ],
)
def test_temperature_is_explicit(tiny_llama: Path, arguments: dict[str, Any], temperature: float) -> None:
    model = Scripted()
    ask(model, tiny_llama, {"until": [], "max_gen_toks": 4, **arguments})
    assert model.asked[0]["temperature"] == temperature


def test_answers_come_back_in_order_whatever_their_limits(tiny_llama: Path) -> None:
    model = Scripted("1,2;3")
    limits = [{"until": [","], "max_gen_toks": 4}, {"until": [";"], "max_gen_toks": 4}]
    assert ask(model, tiny_llama, *limits, *limits) == ["1", "1,2", "1", "1,2"]
    assert len(model.asked) == 2


def test_perplexity_tasks_are_refused(tiny_llama: Path) -> None:
    lm = LmEvalModel(Scripted(), PromptTokenizer(tiny_llama), max_gen_toks=None, seed=0, task="wikitext")
    with pytest.raises(UserError, match="perplexity"):
        lm.loglikelihood_rolling([])


def test_tokens_are_counted(tiny_llama: Path) -> None:
    from lm_eval.api.instance import Instance

    lm = LmEvalModel(Scripted("x"), PromptTokenizer(tiny_llama), max_gen_toks=4, seed=0, task="t")
    lm.generate_until([Instance(request_type="generate_until", doc={}, arguments=("one two", {"until": []}), idx=0)])
    assert (lm.work.prompt_tokens, lm.work.generated_tokens) == (2, 3)
    lm.loglikelihood([Instance(request_type="loglikelihood", doc={}, arguments=("one two", " three"), idx=0)])
    assert (lm.work.prompt_tokens, lm.work.generated_tokens) == (5, 3)


def test_an_answer_without_a_token_of_its_own_is_refused(save_tokenizer, tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance

    save_tokenizer(tmp_path)
    lm = LmEvalModel(Scripted(), PromptTokenizer(tmp_path), max_gen_toks=None, seed=0, task="mine")
    with pytest.raises(UserError, match=r"mine has an answer 'use' .*'the old ho'"):
        lm.loglikelihood([Instance(request_type="loglikelihood", doc={}, arguments=("the old ho", "use"), idx=0)])
