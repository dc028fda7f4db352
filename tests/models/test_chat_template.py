"""Chat templates: the library's text, on the same day and with the same dice, and never without end."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from whichbits.core.errors import UserError
from whichbits.models import chat_template
from whichbits.models.chat_template import render
from whichbits.models.tokenization import load_tokenizer

HELLO = [{"role": "user", "content": "the cat"}]
CONTENT = "{{ messages[0].content }}"


@pytest.fixture
def tokenizer_with(save_tokenizer: Callable[..., int], tmp_path: Path) -> Callable[..., Any]:
    def made(**fields: Any) -> Any:
        save_tokenizer(tmp_path, **fields)
        return load_tokenizer(tmp_path)

    return made


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}{{ date_string }}", "2024"),
        ("{% set at = strftime_now('%A %H:%M:%S') %}{{ at }}", "Friday 00:00:00"),
    ],
)
def test_today_is_the_same_every_day(template, text, tokenizer_with):
    assert render(tokenizer_with(template=template + CONTENT), HELLO) == text + "the cat"


def test_dice_of_a_template_fall_the_same_every_time(tokenizer_with):
    tokenizer = tokenizer_with(template="{{ range(1000) | random }} {{ range(1000) | random }}" + CONTENT)
    assert len({render(tokenizer, HELLO) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "no chat template"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for", "chat_template"),
        ("{{ messages[0].content + 1 }}", "chat_template"),
        ("{{ messages[3].content.x }}", "chat_template"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "chat_template"),
        ("{{ 1 / 0 }}", "chat_template"),
        ("hello", "it writes no word of them"),
        ("{% for m in messages if m.role == 'human' %}{{ m.content }}{% endfor %}", "roles user: it writes no word of them"),
    ],
)
def test_a_template_that_cannot_be_used_is_told(template, says, tokenizer_with):
    with pytest.raises(UserError, match=says):
        render(tokenizer_with(template=template), HELLO)


ENDLESS = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a power of powers": "{% set n = messages | length + 8 %}{{ n ** (n ** n) % 2 }}",
}
MEMORY, WRITES = "it takes more memory than it may", r"it writes [\d,]+ characters, and may write 1,000,"
UNBOUNDED = {
    "a text times a number": ("{{ 'a' * 20000000000 }}", MEMORY),
    "a list times a number": ("{{ [0] * 20000000000 }}", MEMORY),
    "a padded text": ("{{ messages[0].content | center(9000000000) }}", MEMORY),
    "a long text": ("{{ messages[0].content * 1000000 }}", WRITES),
    "a macro without end": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "maximum recursion depth exceeded"),
    "a range without end": ("{% for i in range(10 ** 9) %}x{% endfor %}", "Range too big"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_end_ends(name: str, tokenizer_with, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chat_template, "LIMIT_S", 0.2)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"takes more than 0\.2 s of processor time for 1 messages"):
        render(tokenizer_with(template=ENDLESS[name]), HELLO)
    assert time.monotonic() - began < 20
    assert render(tokenizer_with(template="{{ messages[0].content }}"), HELLO) == "the cat", "the next one is rendered"


@pytest.mark.parametrize("name", UNBOUNDED)
def test_a_template_that_writes_without_end_is_told(name: str, tokenizer_with):
    template, cause = UNBOUNDED[name]
    with pytest.raises(UserError, match=rf"refuses the messages .*: {cause}"):
        render(tokenizer_with(template=template), HELLO)


def test_the_text_is_that_of_the_library(tokenizer_with):
    turns = [{"role": "system", "content": " ß\u2028"}, *HELLO, {"role": "assistant", "content": "sat <b>😀 "}]
    for template in (
        "{{ bos_token }}{% for m in messages %}{{ m | tojson }}{{ loop.index }}\n{% endfor %}{{ add_generation_prompt }}",
        "  {% for m in messages %}\n    {%- if loop.index == 2 %}{% continue %}{% endif %}{{ m.content | trim }}\n{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}{% endfor %}{{ tools }}",
    ):
        tokenizer = tokenizer_with(template=template)
        more = [{"continue_final_message": True}] if "content" in template else []
        for options in ({}, {"add_generation_prompt": True}, *more):
            assert render(tokenizer, turns, **options) == tokenizer.apply_chat_template(turns, tokenize=False, **options)


def test_a_process_that_was_killed_is_replaced_and_imports_nothing_that_lies_about(
    tokenizer_with, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "html.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    os.kill(chat_template.WORKER.pid, signal.SIGKILL)
    assert render(tokenizer_with(template="{{ messages[0].content }}"), HELLO) == "the cat"


def test_a_tokenizer_with_a_way_of_its_own_is_asked(tokenizer_with):
    tokenizer = tokenizer_with(template="{{ messages }}")

    class Own(type(tokenizer)):  # type: ignore[misc]
        def apply_chat_template(self, messages: list[dict[str, str]], *, strftime_now: Any, **_: Any) -> str:
            return f"<{messages[0]['content']}> {strftime_now('%Y-%m-%d')} {random.random()}"

    tokenizer.__class__ = Own
    random.seed(1)
    before = random.getstate()
    written = render(tokenizer, HELLO)
    assert written.startswith("<the cat> 2024-07-26 ")
    assert render(tokenizer, HELLO) == written, "a prompt is the same each time"
    assert random.getstate() == before
