"""Which thinking modes a model has, and whether those that are asked for change anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whichbits.accuracy.thinking.families import Family, families
from whichbits.accuracy.thinking.prompts import prompt_in
from whichbits.core.errors import UserError
from whichbits.schema.thinking import ThinkingMode

DEFAULT = "default"
"""The mode of that name, unless one states another: the chat template as it is, with no switch. Every model has it."""
EVERY = "all"
"""Stands for every mode of the model's family."""

PROBE = ({"role": "user", "content": "How many legs has a cat?"},)


def family_of(tokenizer: Any) -> tuple[str, Family] | None:
    """The family of a model, with its name: the first that it is known by and whose modes give different prompts."""
    template = str(tokenizer.chat_template or "")
    for name, family in families().items():
        if family.known_by(template):
            prompts = [prompt_in(tokenizer, PROBE, family.mode(mode)) for mode in family.modes]
            if len(set(prompts)) == len(prompts):
                return name, family
    return None


def chosen_modes(asked: Sequence[ThinkingMode], tokenizer: Any) -> tuple[ThinkingMode, ...]:
    """The modes that are asked for: those that state a switch as they are, the others by name from the model's family.

    Raises UserError for a name that the family does not have, a switch that the chat template ignores, and two modes that ask
    in the same words.
    """
    found: list[ThinkingMode] = []
    for mode in asked:
        found += [mode] if mode.switches or mode.name == DEFAULT else _named(mode.name, tokenizer)
    prompts: dict[str, str] = {}
    for mode in found:
        prompt = prompt_in(tokenizer, PROBE, mode)
        if mode.switches:
            _refuse_ignored(mode, prompt, tokenizer)
        if prompt in prompts:
            raise UserError(
                f"modes: {prompts[prompt]!r} and {mode.name!r} ask this model in the same words, so they are one mode",
                remedy="leave one of them out",
            )
        prompts[prompt] = mode.name
    return tuple(found)


def _named(name: str, tokenizer: Any) -> list[ThinkingMode]:
    known = family_of(tokenizer)
    if known is None:
        arguments = " nor ".join(family.argument for family in families().values() if family.argument is not None)
        raise UserError(
            f"modes: no mode {name!r} is known of this model: its chat template reads neither {arguments}, and is none whose "
            "models are switched in their messages",
            remedy=f"leave modes out, ask for `{DEFAULT}` alone, or state the switch: "
            "{name: ..., suffix: ...}, or with system or arguments",
        )
    family_name, family = known
    if name == EVERY:
        return [family.mode(each) for each in family.modes]
    if name not in family.modes:
        raise UserError(
            f"modes: models that are switched as this one ({family_name}) have no mode {name!r}",
            remedy=f"choose from {', '.join(family.modes)}, or state the switch: {{name: {name}, suffix: ...}}",
        )
    return [family.mode(name)]


def _refuse_ignored(mode: ThinkingMode, prompt: str, tokenizer: Any) -> None:
    """Raise UserError where the chat template leaves out a part of the mode's switch."""
    for stated, text in (("suffix", mode.suffix.strip()), ("system", (mode.system or "").strip())):
        if text not in prompt:
            raise _ignored(mode, f"the {stated} {text!r:.80}")
    for name, value in mode.arguments.items():
        rest = {one: its for one, its in mode.arguments.items() if one != name}
        # A value may be read like another one, or be the template's default: it is ignored where neither way changes it.
        others = ({**rest, name: _other(value)}, rest)
        if all(_prompt_or_refusal(tokenizer, mode.model_copy(update={"arguments": other})) == prompt for other in others):
            raise _ignored(mode, f"the argument {name}")


def _prompt_or_refusal(tokenizer: Any, mode: ThinkingMode) -> str | None:
    """The prompt; None where the template refuses a value that it must have read to do so."""
    try:
        return prompt_in(tokenizer, PROBE, mode)
    except UserError:
        return None


def _other(value: bool | int | float | str) -> bool | int | float | str:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    return f"{value} " if isinstance(value, str) else value + 1


def _ignored(mode: ThinkingMode, what: str) -> UserError:
    return UserError(
        f"modes: {mode.name!r} changes nothing: the model's chat template ignores {what}",
        remedy="state another switch of this model, or leave the mode out",
    )
