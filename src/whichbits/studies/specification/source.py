"""The text of a specification: YAML read without surprises, and errors that name line, field, value and remedy."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from whichbits.core.errors import UserError

Location = tuple[str | int, ...]

MOST_NODES = 100_000
"""Values in one file, anchors written out: more than any study needs, less than fills the memory."""

_REMEDIES = {
    "tuple_type": ("should be a list", "write it as [one, two], or an entry a line after `- `"),
    "dict_type": ("should be a mapping", "write it as {field: value}, or a field a line"),
    "model_type": ("should be a mapping of fields", "write it as {field: value}, or a field a line"),
    "string_pattern_mismatch": ("cannot be a name", "use small letters, digits and any of . _ -, a letter or digit first"),
}
"""What Pydantic's errors mean for YAML's lists, mappings and the study's name, and what to do, by type of error."""


class Source:
    """A specification's text, which knows the line of each field."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name

    def line(self, location: Location) -> int | None:
        """Line (from 1) of the field at `location`, or of the nearest field around it; None where there is no text."""
        node = yaml.compose(self.text, Loader=yaml.SafeLoader) if self.text else None
        found = None
        for step in location:
            child = None
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == str(step):
                        child, found = value, key.start_mark.line + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                child = node.value[step]
                found = child.start_mark.line + 1
            if child is None:
                break
            node = child
        return found

    def error(self, location: Location, problem: str, remedy: str) -> UserError:
        """The error for the field at `location`."""
        line = self.line(location)
        place = self.name if line is None else f"{self.name}, line {line}"
        field = ".".join(str(step) for step in location)
        return UserError(f"{place}: {field + ': ' if field else ''}{problem}", remedy=remedy)

    def placed(self, location: Location, error: UserError) -> UserError:
        """An error of a look-up, with its place in the specification."""
        return self.error(location, error.message, error.remedy)

    def refuse_twice(self, location: Location, kind: str, names: Sequence[str]) -> None:
        """Raise UserError for a name that is there twice: results are told apart by these names."""
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise self.error(location, f"{kind} {twice[0]!r} is there already", "leave one out, or rename your own")


def read(source: Source) -> Mapping[str, Any]:
    """The fields of the text.

    Raises UserError for what is not YAML, for a field given twice (YAML itself would take the last silently), for a value
    that YAML cannot make (a thirteenth month), and for anchors that multiply beyond all measure.
    """
    try:
        _check(yaml.compose(source.text, Loader=yaml.SafeLoader), source, {})
        data = yaml.safe_load(source.text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(
            f"{source.name}, line {line}: not YAML: {error.problem}", remedy="correct the syntax at or just before that line"
        ) from error
    except yaml.reader.ReaderError as error:
        line = source.text[: error.position].count("\n") + 1
        raise UserError(
            f"{source.name}, line {line}: not YAML: the character {error.character!r} is not allowed",
            remedy="remove it, or write it as an escape in double quotes",
        ) from error
    except RecursionError as error:
        raise UserError(
            f"{source.name}: nested too deeply", remedy="a specification needs no more than a few levels"
        ) from error
    if not isinstance(data, Mapping):
        raise UserError(f"{source.name}: not a mapping of fields", remedy="start with `version: 1`, `name:` and `model:`")
    return data


def _check(node: yaml.Node | None, source: Source, sizes: dict[int, int]) -> int:
    """Number of values in the node with all anchors written out; raises UserError for what `read` refuses."""
    if node is None:
        return 0
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = MOST_NODES + 1  # stands while its parts are counted: a part that refers to it has no end
    match node:
        case yaml.MappingNode():
            _check_twice(node, source)
            size = 1 + sum(_check(part, source, sizes) for pair in node.value for part in pair)
        case yaml.SequenceNode():
            size = 1 + sum(_check(part, source, sizes) for part in node.value)
        case _:
            size = 1
            try:
                yaml.SafeLoader("").construct_object(node)
            except ValueError as error:
                raise _at(node, source, f"{_shown(node.value)} is no value: {error}", "correct or quote it") from error
    if size > MOST_NODES:
        raise _at(node, source, f"anchors make more than {MOST_NODES:,} values of it", "write out what is meant")
    sizes[id(node)] = size
    return size


def _check_twice(node: yaml.MappingNode, source: Source) -> None:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in first:
                problem = f"{key.value}: is given twice, first in line {first[key.value]}"
                raise _at(key, source, problem, "keep one of them")
            first[key.value] = key.start_mark.line + 1


def _at(node: yaml.Node, source: Source, problem: str, remedy: str) -> UserError:
    return UserError(f"{source.name}, line {node.start_mark.line + 1}: {problem}", remedy=remedy)


def explain(error: ValidationError, source: Source, model: type[BaseModel]) -> UserError:
    """First problem of a validation error, as a line a user can act on."""
    first = error.errors()[0]
    # Pydantic names the member of a union (`dict[str,any]`) as if it were a field.
    location: Location = tuple(step for step in first["loc"] if "[" not in str(step))
    value = first.get("input")
    match first["type"]:
        case "extra_forbidden":
            allowed = _fields(location, model)
            near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
            remedy = f"did you mean `{near[0]}`?" if near else f"allowed here: {', '.join(allowed)}"
            return source.error(location, f"unknown field (value {_shown(value)})", remedy)
        case "missing":
            return source.error(location, "is missing", f"add `{location[-1]}:`")
        case kind:
            message, remedy = _REMEDIES.get(kind, (str(first["msg"]).removeprefix("Value error, "), "correct the value"))
            shown = "" if kind == "mistake" or isinstance(value, Mapping | BaseModel | list) else f" (value {_shown(value)})"
            return source.error(location, f"{message}{shown}", first.get("ctx", {}).get("remedy", remedy))


def _shown(value: object) -> str:
    """A value as it was written, the middle of a long one left out."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = 100
    return brief.repr(value)


def _fields(location: Location, model: Any) -> list[str]:
    """Names that are allowed beside the field at `location`."""
    for step in location[:-1]:
        if isinstance(step, int):
            continue
        annotation = (
            model.model_fields[step].annotation if hasattr(model, "model_fields") and step in model.model_fields else None
        )
        inner = [a for a in (annotation, *getattr(annotation, "__args__", ())) if hasattr(a, "model_fields")]
        if not inner:
            return []
        model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]
