"""Regular expressions in the quantization that a checkpoint's config.json states, matched with a time limit.

Whoever published the checkpoint wrote them, and transformers, compressed-tensors and engines match them without any limit. So
each is tried here on the model's names before one of those sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.regex import RegexError, RegexTimeout, found

PREFIX = "re:"
"""What compressed-tensors puts before a pattern; without it an entry is a whole name."""


def refuse_patterns(path: Path, stated: Any, tensors: Iterable[str]) -> None:
    """Raise UserError where a pattern of what config.json states is no regular expression, or takes too long.

    `tensors` are the model's, by the names in its files and by its own; tried are their modules, and the modules above those.
    """
    if not isinstance(stated, Mapping):
        return
    names = sorted({each for name in tensors for each in _within(name)})
    for field, pattern in dict.fromkeys(_patterns(stated)):
        _matched(path, field, pattern, names)


def meant(path: Path, field: str, entries: Iterable[str], modules: Sequence[str]) -> set[str]:
    """The modules that compressed-tensors' `entries` mean: by a whole name, or by `re:` and how names begin.

    Raises UserError as `refuse_patterns`.
    """
    chosen: set[str] = set()
    for entry in dict.fromkeys(entries):
        if entry.startswith(PREFIX):
            hits = _matched(path, field, entry.removeprefix(PREFIX), modules)
            chosen |= {module for module, hit in zip(modules, hits, strict=True) if hit}
        elif entry in modules:
            chosen.add(entry)
    return chosen


def strings(value: object) -> list[str]:
    """The texts of a JSON list; none where it is no list."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _patterns(stated: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Field and regular expression: of compressed-tensors, of transformers' FP8 and AWQ, and of GPTQModel (`dynamic`)."""
    listed = [("ignore", stated.get("ignore"))]
    groups = stated.get("config_groups")
    for name, group in groups.items() if isinstance(groups, Mapping) else ():
        listed.append((f"config_groups.{name}.targets", group.get("targets") if isinstance(group, Mapping) else None))
    for field, entries in listed:
        yield from ((field, each.removeprefix(PREFIX)) for each in strings(entries) if each.startswith(PREFIX))
    for each in strings(stated.get("modules_to_not_convert")):
        yield from (("modules_to_not_convert", pattern) for pattern in (each, rf"{each}\."))  # as transformers asks
    dynamic = stated.get("dynamic")
    for each in dynamic if isinstance(dynamic, Mapping) else ():
        yield "dynamic", str(each).removeprefix("+:").removeprefix("-:")


def _within(name: str) -> Iterator[str]:
    """A tensor's name, its module's, and those of all modules that hold it."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _matched(path: Path, field: str, pattern: str, names: Sequence[str]) -> list[bool]:
    place = f"{path / 'config.json'}, quantization_config.{field}"
    try:
        return found("match", pattern, names)
    except RegexError as error:
        if field == "modules_to_not_convert":  # engines take them for names
            return [False] * len(names)
        raise UserError(
            f"{place}: {pattern!r:.200} is no regular expression: {error}", remedy="correct it, or choose another checkpoint"
        ) from error
    except RegexTimeout as error:
        raise UserError(
            f"{place}: {error} on the model's {len(names)} names",
            remedy="write it without repetitions within repetitions, as a+$ for (a+)+$, or choose another checkpoint",
        ) from error
