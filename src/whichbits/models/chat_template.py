"""Chat templates: programs that come with a model. They are run by `template_worker.py`, with a limit on time and memory.

A template may loop without end or write without end, and nothing in this process could end it.
"""

from __future__ import annotations

import random
import re
import site
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from whichbits.core.cpu_limit import CpuLimit, cpu_limit
from whichbits.core.errors import UserError
from whichbits.core.limited import Limited, OutOfTime, Refused

TEMPLATE_DATE = datetime(2024, 7, 26)
"""Today, for templates that print the date (`strftime_now`): a prompt must not change from one day to the next."""

Options = Mapping[str, bool | int | float | str]
"""Arguments of a chat template."""

LIMIT_S = 5.0
"""Seconds of CPU time for one conversation."""

ADDED_CHARACTERS = 1_000_000
"""What a template may write beyond ten times the text of the messages."""


def installed(*packages: str) -> list[str]:
    """Folders that packages are installed in: neither the working directory nor a script's."""
    found = [spec.origin for name in packages if (spec := find_spec(name)) is not None and spec.origin is not None]
    return list(dict.fromkeys([*site.getsitepackages(), *(str(Path(origin).parents[1]) for origin in found)]))


WORKER = Limited(
    Path(__file__).with_name("template_worker.py"),
    installed("transformers", "jinja2"),
    {"OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
)


def render(
    tokenizer: Any,
    messages: Sequence[Mapping[str, str]],
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    arguments: Options = MappingProxyType({}),
) -> str:
    """Messages (role, content) as the tokenizer's chat template writes them, on `TEMPLATE_DATE` and with the same dice.

    With `add_generation_prompt` up to where the answer begins; with `continue_final_message` the last message stays open.
    `arguments` are those that the template reads besides. Raises UserError where there is no template, it refuses the messages,
    or it takes more than `LIMIT_S`.
    """
    if not tokenizer.chat_template:
        raise UserError(
            f"chat_template: the tokenizer of {tokenizer.name_or_path} has no chat template",
            remedy="use the instruction-tuned model, or do without: chat_template: false on a task, no similarity prompts, "
            "calibration on text",
        )
    listed = [dict(message) for message in messages]
    options = {**arguments, "add_generation_prompt": add_generation_prompt, "continue_final_message": continue_final_message}
    try:
        write = _by_its_own_code if _has_its_own(tokenizer) else _by_worker
        text = write(tokenizer, listed, options)
        if _leaves_out_all(text, listed):
            raise Refused("it writes no word of them")
        return text
    except OutOfTime:
        raise UserError(
            f"chat_template: that of {tokenizer.name_or_path} takes more than {LIMIT_S:g} s of processor time for "
            f"{len(listed)} messages",
            remedy="fix the template (chat_template.jinja, or chat_template in tokenizer_config.json): it loops without end",
        ) from None
    except Refused as error:
        cause = " ".join(str(error).split())[:300]
        raise UserError(
            f"chat_template: that of {tokenizer.name_or_path} refuses the messages with roles "
            f"{', '.join(str(message.get('role')) for message in messages)}: {cause}",
            remedy="bring the roles into the template's order, or fix the template",
        ) from error


def _leaves_out_all(text: str, messages: Sequence[Mapping[str, str]]) -> bool:
    """Whether messages have words and the text has none of them: a template may pass over roles that it does not know."""
    words = {word for message in messages for word in re.findall(r"\w+", str(message.get("content")))}
    return bool(words) and not any(word in text for word in words)


def _has_its_own(tokenizer: Any) -> bool:
    """Whether code that comes with the model writes its prompts, which runs where that is allowed."""
    from transformers import PreTrainedTokenizerBase

    return type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template


def _by_its_own_code(tokenizer: Any, messages: list[dict[str, str]], options: Options) -> str:
    """What the tokenizer's own code writes. Raises OutOfTime, and Refused for whatever it raises."""
    dice = random.getstate()
    random.seed(0)
    try:
        with cpu_limit(LIMIT_S):
            made = tokenizer.apply_chat_template(messages, tokenize=False, strftime_now=TEMPLATE_DATE.strftime, **options)
    except CpuLimit:
        raise OutOfTime from None
    except Exception as error:  # it can raise anything
        raise Refused(str(error)) from error
    finally:
        random.setstate(dice)
    return str(made)


def _by_worker(tokenizer: Any, messages: list[dict[str, str]], options: Options) -> str:
    """What the tokenizer's template writes, rendered in a process of its own. Raises OutOfTime and Refused."""
    longest = ADDED_CHARACTERS + 10 * sum(len(str(message.get("content"))) for message in messages)
    variables = {**tokenizer.special_tokens_map, **options}
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # several templates, and none is the default
        raise Refused(str(error)) from error
    return str(WORKER.ask(LIMIT_S, template, messages, TEMPLATE_DATE.isoformat(), variables, longest))
