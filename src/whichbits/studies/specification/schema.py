"""The specification of a study: one schema for YAML and Python, with errors that name line, field, value and remedy."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from whichbits.core.durations import seconds
from whichbits.core.errors import UserError
from whichbits.formats.catalogue import find_name
from whichbits.schema.frozen import Written
from whichbits.schema.prefill_decode import PrefillDecode
from whichbits.schema.sampling import Sampling
from whichbits.studies.specification.decide import Decide
from whichbits.studies.specification.engine import Engine
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.specification.modes import Modes, mode_entries
from whichbits.studies.specification.names import Name, checked_name, mistake
from whichbits.studies.specification.source import Source, explain, read
from whichbits.studies.specification.speeds import Speeds

Run = Literal["auto", "auto-both", "served", "emulated", "both"]

BY_PROBE = ("auto", "auto-both")
"""Ways to run that depend on the kernel that a probe finds."""


Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MOST_REPEATS = 100
Repeats = Annotated[int, Field(ge=1, le=MOST_REPEATS)]


class Candidate(Written):
    """A column of the study: a format with a recipe, or a ready checkpoint."""

    format: str | None = None
    """Name in the catalogue, or an alias; for a ready checkpoint it is read from its configuration."""
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    """Folder or hub id of a ready checkpoint, or nothing: whichbits makes it."""
    name: str = ""
    """What the report calls it; default: the format, or the checkpoint's last name."""
    recipe: Mapping[str, Any] | str = Field(default_factory=dict)
    """Fields of a recipe, or the name or file of one; nothing is the recipe of effort `balanced`."""
    run: Run = "auto"
    """Served by the engine, emulated in transformers, or both. By what the probe finds: `auto` is served where there is a
    native kernel, else emulated; `auto-both` is both there, else emulated."""

    @field_validator("format")
    @classmethod
    def _catalogue_name(cls, format: str | None) -> str | None:
        """The catalogue's name in place of an alias; a name that is not known is refused once it is looked up."""
        return format and (find_name(format) or format)

    @model_validator(mode="after")
    def _one_source(self) -> Candidate:
        if (self.format is None) == (self.checkpoint is None):
            problem = "a candidate is either a `format` (with an optional `recipe`) or a ready `checkpoint`"
            raise mistake(problem, "give one of the two")
        if self.checkpoint is not None and self.recipe:
            raise mistake("a ready `checkpoint` takes no `recipe`", "leave the recipe out, or give a `format` instead")
        if not self.name:
            object.__setattr__(self, "name", self.format or str(self.checkpoint).rstrip("/").split("/")[-1])
        checked_name(self.name)
        return self


class TaskChoice(Written):
    """A task: one of ours by name, one of lm-evaluation-harness, the user's own JSONL file, or one of another kind."""

    name: str = ""
    """A shipped task or suite, or what another is called; default for lm-evaluation-harness: its own name."""
    jsonl: Path | None = None
    lm_eval: Annotated[str, Field(min_length=1)] | None = None
    """lm-evaluation-harness's name of a task, group or tag."""
    kind: Annotated[str, Field(min_length=1)] | None = None
    """Another kind of task, from an installed package."""
    source: Annotated[str, Field(min_length=1)] | None = None
    """What a task of `kind` is made of."""
    metric: str | None = None
    """Default: what a JSONL's lines imply, or the harness's first metric from 0 to 1."""
    filter: str | None = None
    """lm-evaluation-harness's filter (`strict-match`, ...); default: the task's first."""
    num_fewshot: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Worked examples before each item; default: the harness's own number."""
    max_tokens: PositiveInt | None = None
    """Longest answer, tokens; default: 64 for a JSONL prompt, or what the harness states."""
    stop: tuple[str, ...] | None = None
    """Strings that end an answer; default: the end of a line for a JSONL prompt."""
    chat_template: bool | None = None
    """Whether prompts go through the tokenizer's chat template; default: no."""
    sampling: Sampling | None = None
    """How answers are drawn, of any task; default: the task's own way, greedy unless its description says otherwise."""
    judge: JudgeChoice | None = None
    """Who judges the answers, for tasks that are judged; default: the study's judge."""
    skip_without_judge: bool = False
    """Whether the task, or what of a suite is judged, is left out where no judge is named; else that is a mistake."""
    modes: Modes | None = None
    """Thinking modes that the task is asked in; default: the study's. None of them where it is empty."""
    limit: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Use the first `limit` items; a generated task makes as many, also more than its usual number."""
    emulate: bool = True
    """Whether candidates that are served anyway are run on this task in emulation too (`run: both`)."""
    repeat: bool = True
    """Whether the base's further runs (`base_repeats`) include this task."""

    _written_out = field_validator("modes", mode="before")(mode_entries)

    @model_validator(mode="after")
    def _own(self) -> TaskChoice:
        if self.lm_eval is not None and not self.name:
            object.__setattr__(self, "name", self.lm_eval)
        if not self.name:
            raise mistake("a task has no name", "give `name:`, or `lm_eval:` with a name of lm-evaluation-harness")
        checked_name(self.name)
        if (self.kind is None) != (self.source is None):
            raise mistake("`kind` and `source` go together", "give both, or leave both out")
        given = [field for field in ("jsonl", "lm_eval", "kind") if getattr(self, field) is not None]
        if len(given) > 1:
            raise mistake(f"`{given[0]}` and `{given[1]}` are both given", "give one of the two")
        stated = sorted(self.model_fields_set & {"metric", "filter", "num_fewshot", "max_tokens", "stop", "chat_template"})
        if not given and stated:
            raise mistake(
                f"`{stated[0]}` belongs to a task of your own",
                "add `jsonl:` or `lm_eval:`, or leave it out: named tasks have theirs",
            )
        return self

    @property
    def made_of(self) -> tuple[str, str] | None:
        """Kind and source of a task that is not shipped; None for a shipped task or suite."""
        if self.jsonl is not None:
            return "jsonl", str(self.jsonl)
        if self.lm_eval is not None:
            return "lm-eval", self.lm_eval
        return (self.kind, self.source) if self.kind is not None and self.source is not None else None


def task_entry(text: str) -> dict[str, str]:
    """Fields of a task that a bare string stands for: `lm_eval:NAME`, or a shipped task's or suite's name."""
    prefix, colon, name = text.partition(":")
    return {"lm_eval": name.strip()} if colon and prefix == "lm_eval" else {"name": text}


class Similarity(Written):
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
    measures: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the measures, ours and those of installed packages; default: all of ours."""


class Deployment(Written):
    """Hardware, and what an hour of it costs."""

    name: Name = "here"
    hardware: str = "this-machine"
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    price_per_hour: Dollars | None = None
    """Of the whole deployment, in dollars; default: the price list's, if it has this hardware."""


def _short_form(field: str, key: str, text: str) -> dict[str, str]:
    return task_entry(text) if field == "tasks" else {key: text}


class ExecutorChoice(Written):
    """Where steps run."""

    name: str = "local"
    """`local`, `ray`, or one that an installed package brings."""
    address: str | None = None
    """Of a cluster; default: the one that this machine belongs to."""
    shards: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Parts that the items of each evaluation and generation are split into, to run apart from each other; 1 splits none.
    Default: of a long one as many as the executor has places for."""
    nodes: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Nodes of a cluster, at most, that share the samples of a calibrated pass."""


class Specification(Written):
    """A whole study."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)]
    model: Annotated[str, Field(min_length=1)]
    notes: tuple[str, ...] = ()
    """What the reader should know, shown in the report."""
    unavailable: tuple[str, ...] = ()
    """What this release cannot run of what the study describes, and why."""
    candidates: tuple[Candidate, ...]
    tasks: tuple[TaskChoice, ...] = ()
    judge: JudgeChoice | None = None
    """Who judges the answers of tasks that are judged and name no judge of their own."""
    modes: Modes = ()
    """Thinking modes: each task that is asked in the chat template and answered in text is asked in every one."""
    similarity: Similarity | None = None
    workloads: tuple[Mapping[str, Any], ...] = ()
    speeds: tuple[Speeds, ...] = ()
    """Speeds that another tool measured, an entry a workload."""
    prefill_decode: PrefillDecode | None = None
    """Measure prefill and decode apart, by size of the batch and length."""
    rounds: Repeats = 3
    """How often every candidate's speed is measured, interleaved with the others."""
    most_rounds: Repeats | None = None
    """Most rounds: after `rounds`, what of a speed is not decided is measured in more; default: `rounds`, or with a
    `speed_budget` eight times as many."""
    speed_budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds, or text as `30 min`: no further round is begun that would end after so much time of measuring speeds."""
    engine: Engine = Engine()
    deployment: Deployment = Deployment()
    prices: str = "default"
    """Price list: `default`, `paper-2024-10` or a file."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Largest loss of the suite's score above chance that still counts as none."""
    decide: Decide | None = None
    """Evaluate each candidate only until it is decided (`--until-decided`); default: all items."""
    base_repeats: Repeats = 2
    """How often the base is scored; from the second on it gives the noise floor."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    max_length: Annotated[int, Field(ge=16)] | None = None
    """Longest request (prompt and output) served; default: what tasks and workloads need, within the model's context."""
    trust_remote_code: bool = False
    executor: ExecutorChoice = ExecutorChoice()

    def on_one_machine(self) -> Specification:
        """The same, whose steps are run apart from each other by a batch system; those in shards stay so."""
        return self.model_copy(update={"executor": ExecutorChoice(shards=self.executor.shards)})

    @field_validator("speed_budget", mode="before")
    @classmethod
    def _in_seconds(cls, budget: Any) -> Any:
        if not isinstance(budget, str):
            return budget
        try:
            return seconds(budget)
        except ValueError as error:
            raise mistake(str(error), "give a number of seconds, or text as `30 min`") from error

    @field_validator("executor", mode="before")
    @classmethod
    def _by_name(cls, executor: Any) -> Any:
        return {"name": executor} if isinstance(executor, str) else executor

    _written_out = field_validator("modes", mode="before")(mode_entries)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """A bare string stands for a candidate's format, a task's or a workload's name."""
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        for field, key in (("candidates", "format"), ("tasks", "name"), ("workloads", "name")):
            if isinstance(data.get(field), Sequence) and not isinstance(data[field], str):
                data[field] = [_short_form(field, key, entry) if isinstance(entry, str) else entry for entry in data[field]]
        return data

    @model_validator(mode="after")
    def _most_are_more(self) -> Specification:
        if self.most_rounds is not None and self.most_rounds < self.rounds:
            problem = f"`most_rounds` is {self.most_rounds}, less than `rounds`, which is {self.rounds}"
            raise mistake(problem, "raise it, or leave it out")
        return self

    @field_validator("speeds")
    @classmethod
    def _one_price(cls, speeds: tuple[Speeds, ...]) -> tuple[Speeds, ...]:
        prices = {one.deployment: one.price_per_hour for one in speeds}
        for one in speeds:
            if one.price_per_hour != prices[one.deployment]:
                raise mistake(f"{one.deployment} has two prices", "give its speeds the same `price_per_hour`")
        return speeds

    @property
    def looks(self) -> tuple[int, ...]:
        """Rounds after which speeds are looked at: each time twice as many, up to the most."""
        without = self.rounds if self.speed_budget is None else min(8 * self.rounds, MOST_REPEATS)
        most, found = self.most_rounds or without, [self.rounds]
        while found[-1] < most:
            found.append(min(2 * found[-1], most))
        return tuple(found)

    @field_validator("candidates", "tasks")
    @classmethod
    def _distinct_names(cls, entries: tuple[Candidate | TaskChoice, ...]) -> tuple[Candidate | TaskChoice, ...]:
        names = [entry.name for entry in entries]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise mistake(f"two are named {twice[0]!r}", "give each a `name` of its own")
        return entries


def parse(text: str, name: str) -> tuple[Specification, Source]:
    """Specification in `text` (YAML); `name` is how errors call it.

    Raises UserError with line, field, value and remedy.
    """
    source = Source(text, name)
    return specify(read(source), source), source


def specify(fields: Mapping[str, Any], source: Source) -> Specification:
    """Specification of these fields, whose text, where there is one, is `source`. Raises UserError for the first mistake."""
    try:
        return Specification.model_validate(fields)
    except ValidationError as error:
        raise explain(error, source, Specification) from None


def presets() -> dict[str, str]:
    """Text of each specification that whichbits ships, by name."""
    folder = resources.files("whichbits.studies.specification") / "presets"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }


def load(reference: str | Path) -> tuple[Specification, Source]:
    """Specification from a file, or a preset by name."""
    path = Path(reference)
    if path.suffix in {".yaml", ".yml"} or os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a name is too long
        if not path.exists():
            raise UserError(f"specification: {path} does not exist", remedy="name a YAML file that exists, or a preset")
        try:
            text = path.read_text("utf-8-sig")
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
