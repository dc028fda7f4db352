"""A model's modes: its family's by its chat template, and switches that are stated; what changes nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.accuracy.thinking.choice import chosen_modes, family_of
from whichbits.accuracy.thinking.families import families
from whichbits.accuracy.thinking.prompts import prompt_in
from whichbits.accuracy.tokens import PromptTokenizer
from whichbits.core.errors import UserError
from whichbits.models.tokenization import load_tokenizer
from whichbits.schema.thinking import ThinkingMode

TURNS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
QWEN3 = TURNS + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
GRANITE = TURNS + "{% if thinking is defined and thinking %}<think>\n{% endif %}{% endif %}"
PANGU = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}[unused9]S:[unused10]{% endif %}"
    "[unused9]{{ message['role'] }}:{{ message['content'] }}[unused10]{% endfor %}"
    "{% if add_generation_prompt %}[unused9]A:{% endif %}"
)
PLAIN = TURNS + "{% endif %}"
ASKED = [{"role": "user", "content": "2 + 2?"}]


@pytest.fixture
def with_template(tmp_path: Path, save_tokenizer):
    def load(template: str | None):
        save_tokenizer(tmp_path, template=template)
        return load_tokenizer(tmp_path)

    return load


def named(*names: str) -> list[ThinkingMode]:
    return [ThinkingMode(name=name) for name in names]


@pytest.mark.parametrize(
    ("template", "family", "modes"),
    [
        (QWEN3, "enable_thinking", ("slow", "off")),
        (GRANITE, "thinking", ("slow", "off")),
        (PANGU, "openpangu", ("slow", "auto", "off")),
        (PLAIN, None, ()),
        (PLAIN + "{# enable_thinking has no effect here #}", None, ()),
    ],
)
def test_a_family_is_known_by_its_template(with_template, template: str, family: str | None, modes: tuple[str, ...]):
    found = family_of(with_template(template))
    assert (found and found[0]) == family
    assert (tuple(found[1].modes) if found else ()) == modes


def test_every_family_has_modes_that_differ():
    for family in families().values():
        assert len({family.mode(name).model_dump_json(exclude={"name"}) for name in family.modes}) == len(family.modes) > 1


def test_prompts_in_the_modes_of_two_families(with_template):
    tokenizer = with_template(QWEN3)
    slow, off = (prompt_in(tokenizer, ASKED, mode) for mode in chosen_modes(named("slow", "off"), tokenizer))
    assert slow == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert off == slow + "<think>\n\n</think>\n\n"
    tokenizer = with_template(PANGU)
    slow, auto, off = (prompt_in(tokenizer, ASKED, mode) for mode in chosen_modes(named("all"), tokenizer))
    assert slow == "[unused9]S:[unused10][unused9]user:2 + 2?[unused10][unused9]A:"
    assert auto == slow.replace("?", "? /auto_think") and off == slow.replace("?", "? /no_think")


def test_few_shot_turns_have_the_suffix_in_the_last_alone(with_template, tmp_path: Path):
    with_template(PANGU)
    tokenizer = PromptTokenizer(tmp_path, mode=ThinkingMode(name="off", suffix=" /no_think"))
    text = tokenizer.chat([*ASKED, {"role": "assistant", "content": "4"}, {"role": "user", "content": "3 + 3?"}])
    assert text.count("/no_think") == 1 and "3 + 3? /no_think" in text
    with pytest.raises(UserError, match="modes: a task begins the model's answer itself"):
        tokenizer.chat([*ASKED, {"role": "assistant", "content": "The answer is"}], answer_begun=True)


def test_a_system_prompt_of_the_users(with_template):
    tokenizer = with_template(PLAIN)
    mode = ThinkingMode(name="careful", system="Think first.")
    assert chosen_modes([mode, *named("default")], tokenizer) == (mode, *named("default"))
    assert "<|im_start|>system\nThink first.<|im_end|>\n<|im_start|>user" in prompt_in(tokenizer, ASKED, mode)
    ours = [{"role": "system", "content": "Be brief."}, *ASKED]
    assert "system\nThink first.\n\nBe brief.<|im_end|>" in prompt_in(tokenizer, ours, mode)


@pytest.mark.parametrize(
    ("template", "modes", "message"),
    [
        (PLAIN, named("slow"), "modes: no mode 'slow' is known of this model: its chat template reads neither enable_thinking"),
        (QWEN3, named("auto"), r"\(enable_thinking\) have no mode 'auto'"),
        (QWEN3, named("slow", "default"), "'slow' and 'default' ask this model in the same words"),
        (PLAIN, [ThinkingMode(name="off", arguments={"enable_thinking": False})], "ignores the argument enable_thinking"),
        (PLAIN, [ThinkingMode(name="low", arguments={"reasoning_effort": "low"})], "ignores the argument reasoning_effort"),
        (
            "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}",
            [ThinkingMode(name="careful", system="Think first.")],
            "'careful' changes nothing: the model's chat template ignores the system 'Think first.'",
        ),
        (None, named("default"), "has no chat template"),
    ],
)
def test_modes_that_change_nothing_are_refused(with_template, template: str | None, modes: list[ThinkingMode], message: str):
    with pytest.raises(UserError, match=message):
        chosen_modes(modes, with_template(template))


def test_a_switch_that_says_the_default_is_no_mistake(with_template):
    on = ThinkingMode(name="on", arguments={"enable_thinking": True})
    assert chosen_modes([on], with_template(QWEN3)) == (on,)


def test_a_value_that_is_read_like_another_is_no_mistake(with_template) -> None:
    tokenizer = with_template(
        "{% set effort = effort | default('medium') %}{{ messages[0].content }}"
        "{% if effort == 'high' %} A{% elif effort == 'medium' %} B{% else %} C{% endif %}"
    )
    modes = [ThinkingMode(name=name, arguments={"effort": name}) for name in ("low", "high")]
    assert chosen_modes(modes, tokenizer) == tuple(modes)
