"""What a specification is about: its names looked up in the catalogues and on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.schema.step import Cell, Json
from whichbits.studies.planning.plan import Planned
from whichbits.studies.specification.schema import Candidate, Specification, TaskChoice
from whichbits.studies.specification.source import Location, Source
from whichbits.studies.steps.provenance import engine_versions
from whichbits.studies.steps.registry import KINDS

if TYPE_CHECKING:
    from whichbits.accuracy.task import Task
    from whichbits.engines.http.identity import EngineIdentity
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.defaults import Settings
    from whichbits.formats.format import Format
    from whichbits.hardware.machine import Hardware
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
    copy: int = 0
    """How many columns before it have the same files: each is evaluated and measured for itself."""
    notes: tuple[str, ...] = ()
    """What every report on it must say."""

    @property
    def inputs(self) -> dict[str, Json]:
        """What identifies a ready checkpoint in a key."""
        copy = {"copy": self.copy} if self.copy else {}
        return {} if self.made_by else {"checkpoint": dict(self.files), **copy}

    def reads(self, role: str = "checkpoint") -> dict[str, Cell]:
        """The cell that makes the checkpoint, by role."""
        return {role: self.made_by.cell} if self.made_by else {}

    def places(self, role: str = "checkpoint") -> dict[str, Json]:
        """Where a ready checkpoint is."""
        return {} if self.made_by else {role: str(self.folder)}


@dataclass(frozen=True)
class Resolution:
    """What one specification is about, looked up on this machine.

    `statuses` are what probes have said of formats (native, reference, refused), by name.
    """

    specification: Specification
    source: Source
    statuses: Mapping[str, str] = field(default_factory=dict)
    data_dir: Path | None = None
    allow_download: bool = True
    weights: bool = True
    """Whether the weights of models on the hub are wanted here, and not only what a plan is made of."""
    base_engine: str | None = None
    """`emulated` runs the base in emulation alone."""
    ask_servers: bool = True
    """Whether servers that are given by address are asked who they are, which every run needs."""

    # What the study is about

    @cached_property
    def model(self) -> Model:
        """The base model, on this machine."""
        from whichbits.models.resolve import resolve

        try:
            model = resolve(
                self.specification.model,
                allow_download=self.allow_download,
                allow_custom_code=self.specification.trust_remote_code,
                weights=self.weights,
            )
        except UserError as error:
            raise self._error(("model",), error) from error
        if not model.format.is_base and self.specification.candidates:
            problem = f"{model.path} is quantized already ({model.format.name})"
            raise self.source.error(("model",), problem, "give the 16-bit model as the base, and this one as a candidate")
        return model

    @cached_property
    def base(self) -> str:
        """Name of the base: its format's."""
        return self.model.format.name

    @cached_property
    def hardware(self) -> Hardware:
        """The machine."""
        from whichbits.hardware.machine import describe

        return describe()

    @cached_property
    def deployment_caveats(self) -> tuple[str, ...]:
        """What cannot be known of the hardware that the specification names. Raises UserError where it is not here."""
        from whichbits.studies.planning.claims import caveats

        try:
            return caveats(self.specification.deployment, self.specification.engine, self.hardware)
        except UserError as error:
            raise self._error(("deployment",), error) from error

    @cached_property
    def tasks(self) -> tuple[tuple[Task, TaskChoice], ...]:
        """Tasks with what the specification says of each; a suite stands for its tasks."""
        found: list[tuple[Task, TaskChoice]] = []
        for index, choice in enumerate(self.specification.tasks):
            try:
                if choice.sampling is not None:
                    choice.sampling.check()
            except UserError as error:
                raise self._error(("tasks", index, "sampling"), error) from error
            try:
                expanded = tuple(_extended(task, choice.limit, self.specification.seed) for task in _tasks(choice))
            except UserError as error:
                raise self._error(("tasks", index, "name" if choice.lm_eval is None else "lm_eval"), error) from error
            self._refuse_twice(("tasks", index), "task", [*(task.name for task, _ in found), *(task.name for task in expanded)])
            found += [(task, choice) for task in expanded]
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
            self._refuse_twice(("workloads", index), "workload", [entry.name for entry in found])
        return tuple(found)

    @cached_property
    def max_length(self) -> int:
        """Longest request served, tokens."""
        from whichbits.studies.planning.addresses import longest_request

        needed = max((w.prompt_tokens + w.output_tokens for w in self.workloads), default=0)
        servers = self.servers
        try:
            taken = longest_request(servers, self.specification.max_length or needed)
        except UserError as error:
            raise self._error(("max_length",), error) from error
        longest = min(self.model.max_positions, taken or self.model.max_positions)
        chosen = self.specification.max_length or min(longest, max(DEFAULT_MAX_LENGTH, needed))
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
        serves = self.base_engine != "emulated" and not self.nothing_served
        emulates = not serves or any(self._runs(candidate)[1] for candidate in self.specification.candidates)
        base = Subject(self.base, self.model.format, serves, emulates, self.model.files, self.model.path)
        taken = {self.base}
        found = [base]
        for index, candidate in enumerate(self.specification.candidates):
            if candidate.name in taken:
                raise self.source.error(("candidates", index, "name"), f"{candidate.name!r} is the base's name", "give another")
            taken.add(candidate.name)
            try:
                found.append(_told_apart(self._subject(candidate), found))
            except UserError as error:
                raise self._error(("candidates", index), error) from error
        return tuple(found)

    def _subject(self, candidate: Candidate) -> Subject:
        from whichbits.formats.catalogue import get
        from whichbits.formats.format import fit

        served, emulated = self._runs(candidate)
        if candidate.checkpoint is not None:
            from whichbits.models.likeness import likeness_notes, refuse_another_model
            from whichbits.models.resolve import resolve

            ready = resolve(
                candidate.checkpoint,
                allow_download=self.allow_download,
                allow_custom_code=self.specification.trust_remote_code,
                weights=self.weights,
            )
            consent = self.specification.trust_remote_code
            refuse_another_model(self.model, ready, allow_custom_code=consent)
            notes = likeness_notes(candidate.name, self.model, ready, allow_custom_code=consent)
            return Subject(candidate.name, ready.format, served, emulated, ready.files, ready.path, notes=notes)
        assert candidate.format is not None
        format = get(candidate.format)
        recipe = _recipe(candidate.recipe, self.specification.seed, format)
        if format.is_base or format.refused:
            why = format.refused or "it is the base's own"
            raise UserError(f"format {format.name} cannot be made: {why}", remedy="choose another format")
        fitted = fit(format, self._linear_shapes, group_size=recipe["group_size"])
        cell = Cell(
            "quantize",
            KINDS["quantize"].version,
            {"base": dict(self.model.files), "format": fitted.model_dump(mode="json"), "recipe": recipe},
            labels={"candidate": candidate.name, "format": fitted.name},
            places={"base": str(self.model.path), "custom_code": self.specification.trust_remote_code},
        )
        return Subject(candidate.name, fitted, served, emulated, made_by=Planned(cell, "local"))

    @cached_property
    def _linear_shapes(self) -> set[tuple[int, int]]:
        """[rows, columns] of the linear layers that are quantized."""
        from whichbits.quantization.model.structure import layer_linears

        shapes = self.model.shapes
        named = (name for layer in layer_linears(self.model.configuration, shapes) for name in layer)
        return {(shapes[name][0], shapes[name][1]) for name in named}

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

    @property
    def nothing_served(self) -> bool:
        """Whether all candidates are to be emulated and no speed is asked for: then no engine is needed."""
        chosen = self.specification
        return bool(chosen.candidates) and not chosen.workloads and all(one.run == "emulated" for one in chosen.candidates)

    @cached_property
    def command(self) -> EngineCommand | None:
        """How the engine is started; None where addresses are given, or nothing is served."""
        from whichbits.engines.vllm.command import find_vllm

        engine = self.specification.engine
        if engine.kind == "url" or self.nothing_served:
            return None
        try:
            return find_vllm(engine.command)
        except UserError as error:
            raise self._error(("engine", "command"), error) from error

    @cached_property
    def settings(self) -> Settings:
        """Engine arguments and environment, with the specification's over the defaults."""
        from whichbits.engines.vllm.defaults import serving_settings

        engine = self.specification.engine
        most = max([engine.concurrency, *(c for w in self.workloads if w.concurrency != "auto" for c in w.concurrency)])
        settings = serving_settings(
            self.hardware, self.model.configuration.kv_bytes_per_token, max_length=self.max_length, max_concurrency=most
        )
        consent = {"trust-remote-code": True} if self.specification.trust_remote_code else {}
        return replace(
            settings,
            arguments={**settings.arguments, **consent, **engine.arguments},
            environment={**settings.environment, **engine.environment},
        )

    @cached_property
    def serving(self) -> dict[str, Json]:
        """The serving engine as part of a key, the same for all candidates; an address has `server_of` beside it."""
        from whichbits.engines.vllm.defaults import MODEL_NAME

        engine = self.specification.engine
        shared: dict[str, Json] = {"kind": engine.kind, "max_length": self.max_length, "concurrency": engine.concurrency}
        if self.command is None:
            return shared
        return {
            **shared,
            "version": self.command.version,
            "command": list(engine.command) if engine.command else None,
            "model_name": str(self.settings.arguments.get("served-model-name", MODEL_NAME)),
            "arguments": dict(self.settings.arguments),
            "environment": dict(self.settings.environment),
        }

    @cached_property
    def servers(self) -> dict[str, EngineIdentity]:
        """Who answers for each candidate that is served at an address of the user's."""
        from whichbits.studies.planning.addresses import identities

        if self.command is not None or not self.ask_servers:
            return {}
        weights = {one.name: one.made_by.cell.key if one.made_by else one.files for one in self.subjects if one.served}
        try:
            return identities(self.specification.engine, weights)
        except UserError as error:
            raise self._error(("engine", "urls"), error) from error

    def server_of(self, candidate: str, role: str = "server") -> dict[str, Json]:
        """Who answers for a candidate, as part of a key."""
        return {role: self.servers[candidate].fields()} if candidate in self.servers else {}

    @cached_property
    def emulation(self) -> dict[str, Json]:
        """The emulation as part of a key."""
        return {"kind": "emulated", "versions": engine_versions(), "threads": self.local_threads}

    @cached_property
    def local_threads(self) -> int:
        """Threads of a local cell: what the server leaves where both run side by side."""
        served = len(self.settings.server_cpus) if self.command is not None else 0
        return max(1, self.hardware.cores - served)

    def _refuse_twice(self, location: Location, kind: str, names: list[str]) -> None:
        """Results are told apart by these names."""
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise self.source.error(location, f"{kind} {twice[0]!r} is there already", "leave one out, or rename your own")

    def _error(self, location: Location, error: UserError) -> UserError:
        """An error of a look-up, with its place in the specification."""
        return self.source.error(location, error.message, error.remedy)


def _told_apart(subject: Subject, others: Sequence[Subject]) -> Subject:
    """The subject, counted among those of the same files. Raises UserError for a format that is made twice in the same way."""
    made = subject.made_by
    twin = next((other for other in others if made and other.made_by and other.made_by.cell.key == made.cell.key), None)
    if twin is not None:
        raise UserError(
            f"{subject.name!r} is the same format, made by the same recipe, as {twin.name!r}",
            remedy="leave one out, or give it a recipe or seed of its own",
        )
    alike = sum(made is None and other.made_by is None and other.files == subject.files for other in others)
    return replace(subject, copy=alike)


def _tasks(choice: TaskChoice) -> tuple[Task, ...]:
    """Tasks that an entry of the specification stands for, with its sampling."""
    found = _named(choice)
    return found if choice.sampling is None else tuple(task.sampled(choice.sampling) for task in found)


def _named(choice: TaskChoice) -> tuple[Task, ...]:
    if choice.request is not None:
        from whichbits.accuracy.kinds.registry import task_kind

        kind, request = choice.request
        return (task_kind(kind).define(request),)
    from whichbits.accuracy.registry import expand

    return expand([choice.name])


def _extended(task: Task, limit: int | None, seed: int) -> Task:
    """The task with as many items as are asked for, where they can be made and are more than it has by default."""
    from whichbits.accuracy.kinds.registry import task_kind

    return task if limit is None else task_kind(task.kind).with_items(task, limit, seed=seed)


def _recipe(recipe: Mapping[str, Any] | str, seed: int, format: Format) -> dict[str, Json]:
    """A recipe with its defaults, and the hash of its calibration data, so that it decides the result alone.

    Without any fields it is that of the default effort. A named recipe's group size is left out where the format has none to
    choose.
    """
    from whichbits.quantization.calibration.data import pinned
    from whichbits.quantization.recipe.options import fitting, recipe_of
    from whichbits.quantization.recipe.presets import recipe_fields

    fields = recipe_fields(recipe)
    fields = fitting(fields, format) if isinstance(recipe, str) else fields
    return pinned(recipe_of({"seed": seed, **fields}, format, None, own_recipe=bool(recipe))).model_dump(mode="json")
