"""Several formats in one checkpoint: which module has which."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from whichbits.core.errors import UserError
from whichbits.core.regex import RegexError, RegexTimeout, found
from whichbits.formats.checkpoint.names import EXPERTS, LANGUAGE_MODEL, MATRICES_OF_ONE
from whichbits.formats.format import Format, Part, fit

NUMBER = re.compile(r"(?<=\.layers\.)\d+(?=\.)")
EXPERT = re.compile(r"(?<=\.experts\.)\d+(?=\.)")


def unit(module: str) -> str:
    """The name that modules share which must have the same format, because engines put them into one matrix.

    These are q, k and v; gate and up; and all experts of a layer.
    """
    block, found, _ = module.partition(EXPERTS)
    if found:
        return f"{block}.experts"
    parent, _, own = module.rpartition(".")
    together = next((names for names in MATRICES_OF_ONE if own in names), (own,))
    return f"{parent}.{'+'.join(together)}"


def matching(pattern: str, modules: Sequence[str]) -> list[bool]:
    """Whether `pattern` means each module, as compressed-tensors' targets do: its name, or `re:` and how its name begins.

    Raises UserError where a pattern is no regular expression, or one that takes too long.
    """
    if not pattern.startswith("re:"):
        return [pattern == module for module in modules]
    try:
        return found("match", pattern.removeprefix("re:"), modules)
    except RegexError as error:
        problem = f"layers: {pattern!r:.200} is no regular expression: {error}"
        raise UserError(problem, remedy="correct the pattern") from error
    except RegexTimeout as error:
        remedy = "write it without repetitions within repetitions, as a+$ for (a+)+$"
        raise UserError(f"layers: {error} on the names of {len(modules)} modules", remedy=remedy) from error


def choose(own: str, choices: Iterable[tuple[str, str]], modules: Iterable[str]) -> dict[str, str]:
    """The name of each module's format: that of the first of `choices` (pattern, format) that means it, else `own`.

    Raises UserError where a pattern is no regular expression or means no module, or where modules of one unit differ.
    """
    modules = list(modules)
    chosen: dict[str, str] = {}
    for pattern, name in choices:
        meant = [module for module, means in zip(modules, matching(pattern, modules), strict=True) if means]
        if not meant:
            raise UserError(
                f"layers: {pattern!r} means none of the model's linear layers",
                remedy=f"write a module's name, such as {modules[0]}, or re: and a regular expression for the whole of it",
            )
        for module in meant:
            chosen.setdefault(module, name)
    chosen = {module: chosen.get(module, own) for module in modules}
    firsts: dict[str, str] = {}
    for module in modules:
        first = firsts.setdefault(unit(module), module)
        if chosen[module] != chosen[first]:
            raise UserError(
                f"layers: {first} is {chosen[first]} and {module} is {chosen[module]}, and engines put them into one matrix",
                remedy="give both the same format, by a pattern that means both",
            )
    return chosen


def mix(
    own: Format,
    formats: Mapping[str, Format],
    chosen: Mapping[str, str],
    shapes: Mapping[str, tuple[int, int]],
    group_size: int | None,
) -> Format:
    """`own` fitted to the modules that it is chosen for, with the other formats, each fitted to its own, as its parts.

    `formats` are those that `chosen` names, `shapes` the [rows, columns] of each module; modules whose chosen format is a
    base's (16 bit) have no part. Raises UserError where a format does not fit its modules, or none is quantized.
    """
    by_format: dict[str, list[str]] = defaultdict(list)
    for module, name in chosen.items():
        by_format[name].append(module)
    parts = []
    fitted = own
    for name, modules in by_format.items():
        format = formats[name]
        if format.is_base:
            continue
        size = group_size if format.group_sizes else None
        each = fit(format, (shapes[module] for module in modules), group_size=size)
        if name == own.name:
            fitted = each
        else:
            parts.append(Part(format=each, modules=tuple(modules)))
    if own.name not in by_format:
        raise UserError(f"layers: no module is left for {own.name}", remedy="make a checkpoint of one of the other formats")
    return fitted.model_copy(update={"parts": tuple(parts)})


def targets(modules: Sequence[str], *, among_others: bool = False) -> list[str]:
    """Patterns that mean these modules of `model.layers.N` and no others: one for each kind of module, listing its layers.

    `among_others` is for a language model in a checkpoint with other models, which engines name differently.
    """
    layers: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        number = NUMBER.search(module)
        kind = re.escape(EXPERT.sub("0", NUMBER.sub("0", module)))
        layers[kind].add(number[0] if number else "")
    patterns = []
    for kind, numbers in layers.items():
        listed = "|".join(sorted(numbers, key=lambda number: int(number or 0)))
        pattern = kind.replace(r"\.layers\.0\.", rf"\.layers\.(?:{listed})\.").replace(r"\.experts\.0\.", r"\.experts\.\d+\.")
        if among_others:
            pattern = pattern.replace(r"model\.", rf".*{LANGUAGE_MODEL}\b.*\.", 1)
        patterns.append(f"re:{pattern}$")
    return patterns
