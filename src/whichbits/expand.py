"""From a specification to a plan: names are looked up in the rooms, and every cell gets its inputs.

With `cells`, the only place where the rooms meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.cells import VERSIONS, digest, engine_versions
from whichbits.errors import UserError
from whichbits.study.cell import Cell, Json
from whichbits.study.plan import Plan, Planned, Served
from whichbits.study.specification import Candidate, Location, Source, Specification, TaskChoice

if TYPE_CHECKING:
    from whichbits.accuracy.task import Task
    from whichbits.engines.command import EngineCommand
    from whichbits.engines.defaults import Settings
    from whichbits.engines.hardware import Hardware
    from whichbits.formats.format import Format
    from whichbits.models.resolve import Model
    from whichbits.serving.workload import Workload

DEFAULT_MAX_LENGTH = 4096
"""Longest request where the specification, the workloads and the model's context leave it open, tokens."""


@dataclass(frozen=True)
class Subject:
    """A candidate with its checkpoint: made by a cell, or in a folder already."""

    name: str
    format: Format
    served: bool
    emulated: bool
    files: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    made_by: Planned | None = None

    @property
    def inputs(self) -> dict[str, Json]:
        """What identifies a ready checkpoint in a key."""
        return {} if self.made_by else {"checkpoint": dict(self.files)}

    def reads(self, role: str = "checkpoint") -> dict[str, Cell]:
        """The cell that makes the checkpoint, by role."""
        return {role: self.made_by.cell} if self.made_by else {}

    def places(self, role: str = "checkpoint") -> dict[str, Json]:
        """Where a ready checkpoint is."""
        return {} if self.made_by else {role: str(self.folder)}


def _keys(reads: Mapping[str, Cell]) -> dict[str, str]:
    return {role: cell.key for role, cell in reads.items()}


@dataclass(frozen=True)
class Expansion:
    """Expands one specification. `statuses` are what probes have said of formats (native, reference, refused), by name."""

    specification: Specification
    source: Source
    statuses: Mapping[str, str] = field(default_factory=dict)
    data_dir: Path | None = None
    allow_download: bool = True
    base_engine: str | None = None
    """`emulated` runs the base in emulation alone."""

    # What the study is about

    @cached_property
    def model(self) -> Model:
        """The base model, on this machine."""
        from whichbits.models.resolve import resolve

        try:
            return resolve(
                self.specification.model,
                allow_download=self.allow_download,
                allow_custom_code=self.specification.trust_remote_code,
            )
        except UserError as error:
            raise self._error(("model",), error) from error

    @cached_property
    def base(self) -> str:
        """Name of the base: its dtype's."""
        return {"bfloat16": "bf16", "float16": "fp16"}[self.model.dtype]

    @cached_property
    def hardware(self) -> Hardware:
        """The machine."""
        from whichbits.engines.hardware import describe

        return describe()

    @cached_property
    def tasks(self) -> tuple[tuple[Task, TaskChoice], ...]:
        """Tasks with what the specification says of each; a suite stands for its tasks."""
        found: list[tuple[Task, TaskChoice]] = []
        for index, choice in enumerate(self.specification.tasks):
            try:
                found += [(task, choice) for task in _tasks(choice)]
            except UserError as error:
                raise self._error(("tasks", index, "name"), error) from error
        return tuple(found)

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """Workloads, each within the model's context."""
        from whichbits.serving.workload import check_context, parse_workload

        found = []
        for index, entry in enumerate(self.specification.workloads):
            try:
                workload = parse_workload(str(entry["name"]) if set(entry) == {"name"} else entry)
                check_context(workload, self.model.max_positions)
            except UserError as error:
                raise self._error(("workloads", index), error) from error
            found.append(workload)
        return tuple(found)

    @cached_property
    def max_length(self) -> int:
        """Longest request served, tokens."""
        needed = max((w.prompt_tokens + w.output_tokens for w in self.workloads), default=0)
        chosen = self.specification.max_length or min(self.model.max_positions, max(DEFAULT_MAX_LENGTH, needed))
        if chosen > self.model.max_positions or chosen < needed:
            raise self.source.error(
                ("max_length",),
                f"{chosen} does not fit: workloads need {needed} tokens, the model's context has {self.model.max_positions}",
                "choose a length between the two",
            )
        return chosen

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """The base, then the candidates in their order."""
        from whichbits.formats.format import get

        serves = self.base_engine != "emulated"
        emulates = not serves or any(self._runs(candidate)[1] for candidate in self.specification.candidates)
        base = Subject(self.base, get(self.base), serves, emulates, self.model.files, self.model.path)
        taken = {self.base}
        found = [base]
        for index, candidate in enumerate(self.specification.candidates):
            if candidate.name in taken:
                raise self.source.error(("candidates", index, "name"), f"{candidate.name!r} is the base's name", "give another")
            taken.add(candidate.name)
            try:
                found.append(self._subject(candidate))
            except UserError as error:
                raise self._error(("candidates", index), error) from error
        return tuple(found)

    def _subject(self, candidate: Candidate) -> Subject:
        from whichbits.formats.format import fit, get, linear_shapes

        served, emulated = self._runs(candidate)
        if candidate.checkpoint is not None:
            from whichbits.models.resolve import resolve

            ready = resolve(
                candidate.checkpoint,
                allow_download=self.allow_download,
                allow_custom_code=self.specification.trust_remote_code,
            )
            return Subject(candidate.name, _format_of(ready.config), served, emulated, ready.files, ready.path)
        recipe = _recipe(candidate.recipe, self.specification.seed)
        assert candidate.format is not None
        format = get(candidate.format)
        if format.is_base or format.refused:
            why = format.refused or "it is the base's own"
            raise UserError(f"format {format.name} cannot be made: {why}", remedy="choose another format")
        fitted = fit(format, linear_shapes(dict(self.model.config)), group_size=recipe["group_size"])
        cell = Cell(
            "quantize",
            VERSIONS["quantize"],
            {"base": dict(self.model.files), "format": fitted.model_dump(mode="json"), "recipe": recipe},
            labels={"candidate": candidate.name, "format": fitted.name},
            places={"base": str(self.model.path)},
        )
        return Subject(candidate.name, fitted, served, emulated, made_by=Planned(cell, "local"))

    def _runs(self, candidate: Candidate) -> tuple[bool, bool]:
        """Whether a candidate is served, and whether it is emulated."""
        match candidate.run:
            case "served":
                return True, False
            case "emulated":
                return False, True
            case "both":
                return True, True
            case "auto":
                served = self.statuses.get(candidate.format or "", "native") == "native"
                return served, not served

    # Engines

    @cached_property
    def command(self) -> EngineCommand | None:
        """How the engine is started; None where addresses are given."""
        from whichbits.engines.command import find_vllm

        engine = self.specification.engine
        if engine.kind == "url":
            return None
        try:
            return find_vllm(engine.command)
        except UserError as error:
            raise self._error(("engine", "command"), error) from error

    @cached_property
    def settings(self) -> Settings:
        """Engine arguments and environment, with the specification's over the defaults."""
        from dataclasses import replace

        from whichbits.engines.defaults import serving_settings

        engine = self.specification.engine
        most = max([engine.concurrency, *(c for w in self.workloads if w.concurrency != "auto" for c in w.concurrency)])
        settings = serving_settings(self.hardware, self.model.config, max_length=self.max_length, max_concurrency=most)
        return replace(
            settings,
            arguments={**settings.arguments, **engine.arguments},
            environment={**settings.environment, **engine.environment},
        )

    @cached_property
    def serving(self) -> dict[str, Json]:
        """The serving engine as part of a key."""
        from whichbits.engines.defaults import MODEL_NAME

        engine = self.specification.engine
        shared: dict[str, Json] = {"kind": engine.kind, "max_length": self.max_length, "concurrency": engine.concurrency}
        if self.command is None:
            return {**shared, "model_name": engine.arguments.get("served-model-name", MODEL_NAME)}
        return {
            **shared,
            "version": self.command.version,
            "command": list(engine.command) if engine.command else None,
            "model_name": str(self.settings.arguments.get("served-model-name", MODEL_NAME)),
            "arguments": dict(self.settings.arguments),
            "environment": dict(self.settings.environment),
        }

    @cached_property
    def emulation(self) -> dict[str, Json]:
        """The emulation as part of a key."""
        return {"kind": "emulated", "versions": engine_versions(), "threads": self.local_threads}

    @cached_property
    def local_threads(self) -> int:
        """Threads of a local cell: what the server leaves where both run side by side."""
        served = len(self.settings.server_cpus) if self.command is not None else 0
        return max(1, self.hardware.cores - served)

    def _error(self, location: Location, error: UserError) -> UserError:
        """A room's error, with its place in the specification."""
        return self.source.error(location, error.message, error.remedy)

    # Cells

    def plan(self) -> Plan:
        """All cells of the study."""
        cells: list[Planned] = []
        for part in (self._checkpoints, self._probes, self._scores, self._texts, self._distributions, self._speeds):
            cells += part()
        served = {
            subject.name: Served(
                subject.name,
                folder=subject.folder,
                made_by=subject.made_by.cell if subject.made_by else None,
                url=self.specification.engine.urls.get(subject.name),
            )
            for subject in self.subjects
            if subject.served
        }
        missing = [name for name in served if self.specification.engine.kind == "url" and served[name].url is None]
        if missing:
            raise self.source.error(("engine", "urls"), f"no address for {missing[0]}", f"add `{missing[0]}: http://...`")
        return Plan(self.specification, self.base, tuple(cells), served)

    def probes(self) -> Plan:
        """Only the probes that decide how candidates with `run: auto` run."""
        undecided = {c.format for c in self.specification.candidates if c.run == "auto" and c.format is not None}
        cells = tuple(p for p in self._probes() if p.cell.labels["format"] in undecided)
        return Plan(self.specification, self.base, cells, {})

    def _checkpoints(self) -> Iterator[Planned]:
        yield from (subject.made_by for subject in self.subjects if subject.made_by)

    def _probes(self) -> Iterator[Planned]:
        if self.command is None:
            return
        for subject in self.subjects:
            inputs = {
                "format": subject.format.model_dump(mode="json"),
                "group_size": subject.format.weights.group_size
                if subject.format.weights and subject.format.group_sizes
                else None,
                "dtype": self.model.dtype,
                "engine": {name: value for name, value in self.serving.items() if name not in ("concurrency", "max_length")},
                "hardware": self.hardware.key(),
            }
            cell = Cell(
                "probe",
                VERSIONS["probe"],
                inputs,
                labels={"candidate": subject.name, "format": subject.format.name, "engine": "vllm"},
                places={"command": list(self.command.argv), "tokenizer": str(self.model.path)},
            )
            yield Planned(cell, "local")

    def _engines(self, subject: Subject) -> Iterator[tuple[str, dict[str, Json]]]:
        """Engines a subject runs in, each with its label."""
        if subject.served:
            yield self.specification.engine.kind, self.serving
        if subject.emulated:
            yield "emulated", self.emulation

    def _on_engine(
        self,
        kind: str,
        subject: Subject,
        label: str,
        inputs: dict[str, Json],
        labels: dict[str, str],
        places: Mapping[str, Json] | None = None,
    ) -> Planned:
        """A cell that runs a checkpoint in an engine."""
        cell = Cell(
            kind,
            VERSIONS[kind],
            {**subject.inputs, **inputs, "hardware": self.hardware.key()},
            _keys(subject.reads()),
            {"candidate": subject.name, **labels, "engine": label},
            {
                **subject.places(),
                "tokenizer": str(self.model.path),
                **({"data_dir": str(self.data_dir)} if self.data_dir else {}),
                **(places or {}),
            },
        )
        if label == "emulated":
            return Planned(cell, "local", subject.reads())
        return Planned(cell, "server", subject.reads(), (subject.name,))

    def _scores(self) -> Iterator[Planned]:
        for subject in self.subjects:
            for label, engine in self._engines(subject):
                repeats = self.specification.base_repeats if subject.name == self.base and label != "emulated" else 1
                for repeat in range(repeats):
                    for task, choice in self.tasks:
                        if (repeat and not choice.repeat) or (label == "emulated" and not self._emulates(subject, choice)):
                            continue
                        stated = task.model_dump(mode="json")
                        places = {"jsonl": task.source} if task.kind == "jsonl" else {}
                        inputs = {
                            "task": {**stated, "source": Path(task.source).name} if places else stated,
                            "data": _data_hash(task),
                            "limit": choice.limit,
                            "seed": self.specification.seed,
                            "repeat": repeat,
                            "engine": self._repeated(engine, repeat),
                        }
                        named = {"task": task.name, "repeat": str(repeat)}
                        yield self._on_engine("evaluate", subject, label, inputs, named, places)

    def _repeated(self, engine: dict[str, Json], repeat: int) -> dict[str, Json]:
        """The base's second run keeps fewer requests in flight: other batches are part of the noise."""
        return engine if repeat == 0 else {**engine, "concurrency": max(1, int(engine["concurrency"]) // 2**repeat)}

    def _emulates(self, subject: Subject, choice: TaskChoice) -> bool:
        """Whether a task is run in emulation: for a candidate that is served too only where the task says so."""
        return choice.emulate or not subject.served or (subject.name == self.base and self._only_emulated)

    @cached_property
    def _only_emulated(self) -> bool:
        """Whether some candidate runs in emulation alone, and so needs the base beside it."""
        return any(subject.emulated and not subject.served for subject in self.subjects)

    def _texts(self) -> Iterator[Planned]:
        wanted = self.specification.similarity
        if wanted is None:
            return
        from whichbits.similarity.prompts import builtin_prompts, read_prompts

        try:
            prompts = read_prompts(wanted.prompts) if wanted.prompts else builtin_prompts()
        except UserError as error:
            raise self._error(("similarity", "prompts"), error) from error
        chosen = [prompt.model_dump(mode="json") for prompt in prompts[:: _stride(len(prompts), wanted.limit)][: wanted.limit]]
        label = wanted.prompts.stem if wanted.prompts else "built-in"
        generated: dict[str, Planned] = {}
        for subject in self.subjects:
            if subject.served:
                inputs = {"prompts": chosen, "max_tokens": wanted.max_tokens, "engine": self.serving}
                generated[subject.name] = self._on_engine(
                    "generate", subject, self.specification.engine.kind, inputs, {"prompts": label}
                )
        yield from generated.values()
        encoders = {"bertscore": _encoder(wanted.bertscore_encoder), "sts": _encoder(wanted.encoder)}
        for name, planned in generated.items():
            if name != self.base:
                reads = {"base": generated[self.base].cell, "candidate": planned.cell}
                cell = Cell("compare", VERSIONS["compare"], {"encoders": encoders}, _keys(reads), dict(planned.cell.labels))
                yield Planned(cell, "local", reads)

    def _distributions(self) -> Iterator[Planned]:
        wanted = self.specification.similarity
        if wanted is None:
            return
        from whichbits.similarity.windows import builtin_documents, read_document

        try:
            documents = [read_document(wanted.text)] if wanted.text else list(builtin_documents())
        except UserError as error:
            raise self._error(("similarity", "text"), error) from error
        base = self.subjects[0]
        for subject in self.subjects[1:]:
            inputs = {
                "documents": digest(documents),
                "windows": wanted.windows,
                "window_tokens": wanted.window_tokens,
                "base": dict(base.files),
                "engine": self.emulation,
            }
            planned = self._on_engine(
                "distribution", subject, "emulated", inputs, {"text": wanted.text.stem if wanted.text else "built-in"}
            )
            places = {**planned.cell.places, **base.places("base"), "documents": documents}
            cell = Cell(
                "distribution", planned.cell.version, planned.cell.inputs, planned.cell.reads, planned.cell.labels, places
            )
            yield Planned(cell, "local", planned.reads)

    def _speeds(self) -> Iterator[Planned]:
        base = self.subjects[0]
        deployment = self.specification.deployment
        for repeat in range(self.specification.rounds):
            for workload in self.workloads:
                for subject in self.subjects:
                    if not subject.served:
                        continue
                    inputs = {
                        **subject.inputs,
                        "base": dict(base.files),
                        "workload": workload.model_dump(mode="json"),
                        "engine": self.serving,
                        "hardware": self.hardware.key(),
                        "deployment": {"hardware": deployment.hardware, "count": deployment.count},
                        "repeat": repeat,
                        "seed": self.specification.seed + repeat,
                    }
                    labels = {
                        "candidate": subject.name,
                        "workload": workload.name,
                        "deployment": deployment.name,
                        "repeat": str(repeat),
                    }
                    places = {"tokenizer": str(self.model.path), "base": base.name}
                    cell = Cell("serve", VERSIONS["serve"], inputs, _keys(subject.reads()), labels, places)
                    yield Planned(cell, "sitting", subject.reads(), tuple(dict.fromkeys((base.name, subject.name))))


def _stride(available: int, limit: int | None) -> int:
    """Step that spreads `limit` items over all that there are."""
    return max(1, available // limit) if limit else 1


def _encoder(name: str) -> str | None:
    """None for the embedded encoder."""
    return None if name == "all-minilm-l6-v2" else name


def _tasks(choice: TaskChoice) -> tuple[Task, ...]:
    """Tasks that an entry of the specification stands for."""
    if choice.jsonl is not None:
        from whichbits.accuracy.jsonl import own_task

        return (
            own_task(
                choice.name,
                choice.jsonl,
                metric=choice.metric,
                max_tokens=choice.max_tokens,
                stop=choice.stop,
                chat_template=choice.chat_template,
            ),
        )
    from whichbits.accuracy.registry import expand

    return expand([choice.name])


def _data_hash(task: Task) -> str | None:
    """SHA-256 of a task's own file, where it has one."""
    import hashlib

    return hashlib.sha256(Path(task.source).read_bytes()).hexdigest() if task.kind == "jsonl" else None


def _recipe(recipe: Mapping[str, Any], seed: int) -> dict[str, Json]:
    """A recipe with its defaults."""
    from pydantic import ValidationError

    from whichbits.quantize.recipe import Recipe

    try:
        return Recipe.model_validate({"seed": seed, **recipe}).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"recipe.{name}: {first['msg']} (value {first.get('input')!r})",
            remedy=f"a recipe has {', '.join(Recipe.model_fields)}",
        ) from None


def _format_of(config: Mapping[str, Any]) -> Format:
    """The format of a ready checkpoint, from the bits and types its configuration states."""
    from whichbits.formats.format import load

    stated = config.get("quantization_config") or {}
    catalogue = load()
    if not stated:
        return catalogue["bf16"]
    match stated.get("quant_method"):
        case "compressed-tensors":
            group = next(iter(stated["config_groups"].values()))
            for format in catalogue.values():
                if format.weights is not None and _same_numbers(format, group):
                    return format
        case "gptq" | "awq" if stated.get("bits") == 4:
            return catalogue["w4a16-int"]
        case "fp8":
            return catalogue["w8a8-fp"]
    raise UserError(
        f"the checkpoint's quantization ({stated.get('quant_method')}) is none of the catalogue's formats",
        remedy="choose a compressed-tensors, GPTQ, AWQ or FP8 checkpoint",
    )


def _same_numbers(format: Format, group: Mapping[str, Any]) -> bool:
    """Whether a compressed-tensors group has the format's bits, types and granularity."""

    def numbers(part: Any) -> tuple[Any, ...] | None:
        if part is None:
            return None
        fields = part if isinstance(part, Mapping) else part.model_dump(mode="json")
        return fields.get("num_bits"), fields.get("type"), fields.get("strategy"), bool(fields.get("dynamic"))

    return numbers(format.weights) == numbers(group.get("weights")) and numbers(format.activations) == numbers(
        group.get("input_activations")
    )
