"""The specification of a study: one schema for YAML and Python, with errors that name line, field, value and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from whichbits.errors import UserError

Location = tuple[str | int, ...]
Run = Literal["auto", "served", "emulated", "both"]


class Part(BaseModel):
    """Immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(Part):
    """A column of the study: a format with a recipe, or a ready checkpoint."""

    format: str | None = None
    """Name in the catalogue; for a ready checkpoint it is read from its configuration."""
    checkpoint: str | None = None
    """Folder or hub id of a ready checkpoint, or nothing: whichbits makes it."""
    name: str = ""
    """What the report calls it; default: the format, or the checkpoint's last name."""
    recipe: Mapping[str, Any] | str = Field(default_factory=dict)
    """Fields of a recipe, or the name or file of one."""
    run: Run = "auto"
    """Served by the engine, emulated in transformers, or both; `auto` asks the probe."""

    @model_validator(mode="after")
    def _one_source(self) -> Candidate:
        if (self.format is None) == (self.checkpoint is None):
            raise ValueError("a candidate is either a `format` (with an optional `recipe`) or a ready `checkpoint`")
        if self.checkpoint is not None and self.recipe:
            raise ValueError("a ready `checkpoint` takes no `recipe`")
        if not self.name:
            object.__setattr__(self, "name", self.format or str(self.checkpoint).rstrip("/").split("/")[-1])
        return self


class TaskChoice(Part):
    """A task by name, or the user's own JSONL file."""

    name: str
    jsonl: Path | None = None
    metric: str | None = None
    """Metric of a JSONL task; default: what its lines imply."""
    max_tokens: PositiveInt = 64
    """Longest answer to a JSONL prompt, tokens."""
    stop: tuple[str, ...] = ("\n",)
    """Strings that end such an answer."""
    chat_template: bool = False
    """Whether JSONL prompts go through the tokenizer's chat template."""
    limit: PositiveInt | None = None
    """Use only the first `limit` items."""
    emulate: bool = True
    """Whether candidates that are served anyway are run on this task in emulation too (`run: both`)."""
    repeat: bool = True
    """Whether the base's further runs (`base_repeats`) include this task."""


class Similarity(Part):
    """Greedy texts and next-token distributions, candidate against base."""

    prompts: Path | None = None
    """JSONL with a `prompt` a line; default: ours."""
    limit: PositiveInt | None = None
    max_tokens: PositiveInt = 128
    text: Path | None = None
    """Plain text for the distributions; default: ours."""
    windows: PositiveInt = 32
    window_tokens: Annotated[int, Field(ge=8)] = 256
    encoder: str = "all-minilm-l6-v2"
    """Sentence encoder of STS: the embedded one, a folder or a hub id."""
    bertscore_encoder: str = "all-minilm-l6-v2"
    """Encoder of BERTScore (the paper's: roberta-large)."""


class Engine(Part):
    """What serves the checkpoints."""

    kind: Literal["vllm", "url"] = "vllm"
    command: tuple[str, ...] | None = None
    """Own command, with {model} and {port}; default: the vLLM that is installed."""
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    environment: Mapping[str, str] = Field(default_factory=dict)
    urls: Mapping[str, str] = Field(default_factory=dict)
    """For `kind: url`: the address that serves each candidate, by its name (the base's is its dtype, as `bf16`)."""
    concurrency: PositiveInt = 16
    """Requests in flight while accuracy is scored; fixed, since batching changes last digits."""

    @model_validator(mode="after")
    def _addresses(self) -> Engine:
        if (self.kind == "url") != bool(self.urls):
            raise ValueError("`urls` goes with `kind: url` and only with it")
        return self


class Deployment(Part):
    """Hardware, and what an hour of it costs."""

    name: str = "here"
    hardware: str = "this-machine"
    count: PositiveInt = 1
    price_per_hour: PositiveFloat | None = None
    """Of the whole deployment, in dollars; default: the price list's, if it has this hardware."""


class Specification(Part):
    """A whole study."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    model: str
    notes: tuple[str, ...] = ()
    """What the reader should know, shown in the report."""
    unavailable: tuple[str, ...] = ()
    """What this release cannot run of what the study describes, and why."""
    candidates: tuple[Candidate, ...]
    tasks: tuple[TaskChoice, ...] = ()
    similarity: Similarity | None = None
    workloads: tuple[Mapping[str, Any], ...] = ()
    rounds: Annotated[int, Field(ge=1)] = 3
    """How often every candidate's speed is measured, interleaved with the others."""
    engine: Engine = Engine()
    deployment: Deployment = Deployment()
    prices: str = "default"
    """Price list: `default`, `paper-2024-10` or a file."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Largest loss of the suite's score above chance that still counts as none."""
    base_repeats: Annotated[int, Field(ge=1)] = 2
    """How often the base is scored; from the second on it gives the noise floor."""
    seed: int = 0
    max_length: Annotated[int, Field(ge=16)] | None = None
    """Longest request (prompt and output) served; default: what tasks and workloads need, within the model's context."""
    trust_remote_code: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """A bare string stands for a candidate's format, a task's or a workload's name."""
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        for field, key in (("candidates", "format"), ("tasks", "name"), ("workloads", "name")):
            if isinstance(data.get(field), Sequence) and not isinstance(data[field], str):
                data[field] = [{key: entry} if isinstance(entry, str) else entry for entry in data[field]]
        return data

    @model_validator(mode="after")
    def _distinct_names(self) -> Specification:
        for field, names in (
            ("candidates", [candidate.name for candidate in self.candidates]),
            ("tasks", [task.name for task in self.tasks]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {field} are named {twice[0]!r}: give each a `name` of its own")
        return self


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
                    if key.value == step:
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


def _fields(location: Location) -> list[str]:
    """Names that are allowed beside the field at `location`."""
    model: Any = Specification
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
    return list(model.model_fields)


def _explain(error: ValidationError, source: Source) -> UserError:
    """First problem of a validation error, as a line a user can act on."""
    first = error.errors()[0]
    location: Location = tuple(first["loc"])
    value = first.get("input")
    match first["type"]:
        case "extra_forbidden":
            allowed = _fields(location)
            near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
            remedy = f"did you mean `{near[0]}`?" if near else f"allowed here: {', '.join(allowed)}"
            return source.error(location, f"unknown field (value {value!r})", remedy)
        case "missing":
            return source.error(location, "is missing", f"add `{location[-1]}:`")
        case _:
            message = str(first["msg"]).removeprefix("Value error, ")
            shown = "" if isinstance(value, Mapping | BaseModel) else f" (value {value!r})"
            return source.error(location, f"{message}{shown}", "correct the value")


def parse(text: str, name: str) -> tuple[Specification, Source]:
    """Specification in `text` (YAML); `name` is how errors call it.

    Raises UserError with line, field, value and remedy.
    """
    source = Source(text, name)
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(
            f"{name}, line {line}: not YAML: {error.problem}", remedy="correct the syntax at or just before that line"
        ) from error
    if not isinstance(data, Mapping):
        raise UserError(f"{name}: not a mapping of fields", remedy="start with `version: 1`, `name:` and `model:`")
    try:
        return Specification.model_validate(data), source
    except ValidationError as error:
        raise _explain(error, source) from None


def presets() -> dict[str, str]:
    """Text of each specification that whichbits ships, by name."""
    folder = resources.files("whichbits.study") / "presets"
    return {entry.name.removesuffix(".yaml"): entry.read_text() for entry in folder.iterdir() if entry.name.endswith(".yaml")}


def load(reference: str | Path) -> tuple[Specification, Source]:
    """Specification from a file, or a preset by name."""
    path = Path(reference)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise UserError(f"specification: {path} does not exist", remedy="name a YAML file that exists, or a preset")
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"specification: {path} cannot be read: {error}", remedy="name a readable UTF-8 YAML file"
            ) from error
        return parse(text, str(path))
    shipped = presets()
    if str(reference) in shipped:
        return parse(shipped[str(reference)], f"preset {reference}")
    near = difflib.get_close_matches(str(reference), shipped, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(
        f"specification: {str(reference)!r} is neither a file nor a preset",
        remedy=f"{hint}presets: {', '.join(sorted(shipped))}",
    )
