"""Remedies of whichbits.accuracy that need lm-evaluation-harness."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.filter import FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.filters.extraction import RegexFilter

from whichbits.accuracy.adapter import HarnessModel
from whichbits.accuracy.limited import limit_scoring
from whichbits.accuracy.tokens import PromptTokenizer


@pytest.fixture(scope="module")
def tokenizer(save_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    generated(adapter(folder, max_gen_toks=4))  # the first loads what the harness needs
    return folder


class Silent:
    """A model that answers nothing."""

    def __init__(self, max_length: int = 40) -> None:
        self.max_length = max_length

    def loglikelihood(self, pairs: Any) -> Any:
        return [(-1.0, False)] * len(pairs)

    def generate(self, prompts: Any, **_: Any) -> Any:
        return [SimpleNamespace(text="", tokens=1, finish_reason="stop")] * len(prompts)


def adapter(tokenizer: Path, *, max_length: int = 40, max_gen_toks: int | None = None) -> HarnessModel:
    return HarnessModel(Silent(max_length), PromptTokenizer(tokenizer), max_gen_toks=max_gen_toks, seed=0, task="mine")


def generated(model: HarnessModel, prompt: str = "one two", **arguments: Any) -> None:
    asked = {"until": [], **arguments}
    model.generate_until([Instance(request_type="generate_until", doc={}, arguments=(prompt, asked), idx=0)])


def chosen(model: HarnessModel, question: str, answer: str) -> None:
    model.loglikelihood([Instance(request_type="loglikelihood", doc={}, arguments=(question, answer), idx=0)])


def test_an_item_that_is_too_long(follow: Any, tokenizer: Path):
    shots = "one two three four " * 10
    for told in (
        lambda: generated(adapter(tokenizer, max_length=200), shots, max_gen_toks=8),
        lambda: generated(adapter(tokenizer), shots[: len(shots) // 10], max_gen_toks=8),
    ):
        follow(
            "task: {task} has an item of {prompt} prompt tokens",
            mistake=lambda: generated(adapter(tokenizer), shots, max_gen_toks=8),
            remedy=told,
        )


def test_an_answer_without_a_token_of_its_own(follow: Any, tokenizer: Path):
    follow(
        "that adds no token of its own to its question",
        mistake=lambda: chosen(adapter(tokenizer), "the old ho", "use"),
        remedy=lambda: chosen(adapter(tokenizer), "the old ho", " use"),
    )


def test_generation_arguments(follow: Any, tokenizer: Path):
    error = follow(
        "asks for generation arguments that are not supported",
        mistake=lambda: generated(adapter(tokenizer, max_gen_toks=4), best_of=2),
        remedy=lambda: generated(adapter(tokenizer, max_gen_toks=4)),
    )
    values = {"do_sample": False, "temperature": 0.0, "until": ["x"]}
    for name in error.remedy.removeprefix("use only ").split(", "):
        generated(adapter(tokenizer, max_gen_toks=4), **{name: values.get(name, 1)})
    follow(
        "task: {task} states no limit on the answer's length",
        mistake=lambda: generated(adapter(tokenizer)),
        remedy=lambda: generated(adapter(tokenizer, max_gen_toks=4)),
    )


def test_a_filter_or_a_score_without_end(follow: Any):
    def scored(pattern: str, answer: str) -> None:
        task = SimpleNamespace(task_name="theirs", _filters=[], process_results=lambda _, said: re.search(pattern, said[0]))
        limit_scoring(task, seconds=0.2)
        task.process_results({}, [answer])

    def filtered(pattern: str) -> None:
        own = FilterEnsemble("own", [lambda: RegexFilter(pattern)])
        task = SimpleNamespace(task_name="theirs", _filters=[own], process_results=None)
        limit_scoring(task, seconds=0.2)
        own.apply([SimpleNamespace(resps=["a" * 64 + "!"], doc={}, filtered_resps={})])

    for mistake in (lambda: scored(r"(a+)+$", "a" * 64 + "!"), lambda: filtered(r"(a+)+$")):
        follow("task: {where}: the answer {answers} {error} to score", mistake=mistake, remedy=lambda: filtered(r"a+$"))


def test_a_tokenizer_without_an_end(follow: Any, save_tokenizer: Any, tmp_path: Path):
    save_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    fields = json.loads(path.read_text())

    def end() -> int:
        return PromptTokenizer(tmp_path).eos_token_id

    def name_one() -> None:
        path.write_text(json.dumps({**fields, "eos_token": "house"}))
        assert end() >= 0

    path.write_text(json.dumps({name: value for name, value in fields.items() if name != "eos_token"}))
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    follow("tokenizer: {name} has no eos_token", mistake=end, remedy=name_one)
