"""Remedies of thinking modes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from whichbits.accuracy.evaluate import evaluate
from whichbits.accuracy.kinds.jsonl import own_task
from whichbits.accuracy.replies import registry
from whichbits.accuracy.thinking.choice import chosen_modes
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.models.tokenization import load_tokenizer
from whichbits.schema.thinking import ThinkingMode
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse

TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
PLAIN = TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
QWEN3 = (
    TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SLOW, OFF, DEFAULT = (ThinkingMode(name=name) for name in ("slow", "off", "default"))


class Silent:
    """A model that finds every continuation equally likely."""

    max_length = 512

    def loglikelihood(self, pairs: Any) -> Any:
        return [(-1.0, False)] * len(pairs)


@pytest.fixture
def tokenizer(tmp_path: Path, save_tokenizer: Any) -> Any:
    def with_template(template: str) -> Any:
        save_tokenizer(tmp_path, template=template)
        return load_tokenizer(tmp_path)

    return with_template


def test_a_model_without_a_switch(follow: Any, tokenizer: Any):
    chosen = partial(chosen_modes, tokenizer=tokenizer(PLAIN))
    stated = ThinkingMode(name="slow", suffix=" /think")
    follow("is known of this model", mistake=lambda: chosen([SLOW]), remedy=lambda: (chosen([DEFAULT]), chosen([stated])))


def test_a_mode_that_the_family_has_not(follow: Any, tokenizer: Any):
    chosen = partial(chosen_modes, tokenizer=tokenizer(QWEN3))
    stated = ThinkingMode(name="auto", suffix=" /auto")
    mistake = partial(chosen, [ThinkingMode(name="auto")])
    follow("have no mode", mistake=mistake, remedy=lambda: (chosen([SLOW, OFF]), chosen([stated])))


def test_two_modes_in_the_same_words(follow: Any, tokenizer: Any):
    chosen = partial(chosen_modes, tokenizer=tokenizer(QWEN3))
    follow("so they are one mode", mistake=lambda: chosen([SLOW, DEFAULT]), remedy=lambda: chosen([SLOW]))


def test_a_switch_that_is_ignored(follow: Any, tokenizer: Any):
    chosen = partial(chosen_modes, tokenizer=tokenizer(PLAIN))
    ignored, read = ThinkingMode(name="off", arguments={"thinking": False}), ThinkingMode(name="off", suffix=" /no_think")
    follow("the model's chat template ignores", mistake=lambda: chosen([ignored]), remedy=lambda: chosen([read]))


def test_an_answer_that_is_begun(follow: Any, tokenizer: Any, tmp_path: Path):
    tokenizer(PLAIN)
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Since"}]

    def asked(mode: ThinkingMode | None) -> None:
        PromptTokenizer(tmp_path, mode=mode).chat(messages, answer_begun=True)

    follow("a task begins the model's answer itself", mistake=lambda: asked(DEFAULT), remedy=lambda: asked(None))


def test_likelihoods_of_choices(follow: Any, tokenizer: Any, tmp_path: Path):
    tokenizer(PLAIN)
    file = tmp_path / "choices.jsonl"
    file.write_text(json.dumps({"question": "2 + 2?", "choices": ["4", "5"], "answer": 0}) + "\n")
    task = own_task("choices", file, chat_template=True)
    follow(
        "and draws no reply to think in",
        mistake=lambda: evaluate(task.in_mode(DEFAULT, max_tokens=None), Silent(), tmp_path),
        remedy=lambda: evaluate(task, Silent(), tmp_path),
    )


@pytest.fixture(scope="module")
def model(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thinker") / "model"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").write_text(QWEN3)
    return folder


def tasks(model: Path, listed: str, modes: str = "") -> None:
    text = f"version: 1\nname: s\nmodel: {model}\ncandidates: [{{format: w8a8-int, run: emulated}}]\ntasks: [{listed}]\n{modes}"
    _ = Expansion(*parse(text, "s.yaml"), ask_servers=False).tasks


def test_a_task_that_cannot_be_asked_in_a_mode(follow: Any, model: Path):
    follow(
        "is not asked in the chat template, or",
        mistake=lambda: tasks(model, "{name: humaneval, modes: [off]}"),
        remedy=lambda: (tasks(model, "{name: humaneval}"), tasks(model, "{name: humaneval_chat, modes: [off]}")),
    )


def test_a_study_with_no_task_for_its_modes(follow: Any, model: Path):
    follow(
        "no task of this study is asked in the chat template",
        mistake=lambda: tasks(model, "humaneval", "modes: [off]\n"),
        remedy=lambda: (tasks(model, "humaneval_chat", "modes: [off]\n"), tasks(model, "humaneval")),
    )


def test_one_name_for_two_modes(follow: Any, model: Path):
    def with_name(name: str) -> None:
        own = "{name: humaneval_chat, modes: [{name: %s, suffix: ' /quick'}]}" % name  # noqa: UP031 - braces of YAML
        tasks(model, f"{own}, mbpp_chat", "modes: [{name: off, suffix: ' /short'}]\n")

    follow("has another switch than the mode", mistake=lambda: with_name("off"), remedy=lambda: with_name("quick"))


def test_a_measure_of_replies_that_is_called_as_a_column(follow: Any, monkeypatch: pytest.MonkeyPatch):
    def called(name: str) -> None:
        ours = {**registry.MEASURES.ours, name: registry.MEASURES.ours["words"]}
        monkeypatch.setattr(registry, "MEASURES", replace(registry.MEASURES, ours=ours))
        registry.reply_measures()

    before = registry.MEASURES
    follow("cannot name a measure of replies", mistake=lambda: called("score"), remedy=lambda: None)
    monkeypatch.setattr(registry, "MEASURES", before)
    called("letters")
