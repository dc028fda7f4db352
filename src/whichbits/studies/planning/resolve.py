"""What a specification is about: its names looked up in the catalogues and on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from whichbits.core.errors import UserError
from whichbits.schema.early_stopping import EarlyStoppingPlan
from whichbits.schema.engine import Emulation, EngineAtAddress, EngineIdentity, ServingEngine, StartedEngine
from whichbits.studies.specification.engine import Engine
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.specification.schema import Candidate, Specification
from whichbits.studies.specification.source import Source
from whichbits.studies.steps import evaluate, prefill_decode, quantize, serve
from whichbits.studies.steps.shared import imported_speeds
from whichbits.studies.steps.shared.provenance import engine_versions
from whichbits.studies.steps.study import FurtherRound
from whichbits.studies.steps.subject import Subject

if TYPE_CHECKING:
    from whichbits.engines.vllm.command import EngineCommand
    from whichbits.engines.vllm.server_arguments import Settings
    from whichbits.hardware.this_machine import Hardware
    from whichbits.models.resolve import Model

OPENING = 16
"""Items of each task that the base answers first, in a study that stops where nothing is left to decide."""

DEFAULT_MAX_LENGTH = 4096
"""Longest request where the specification, the workloads and the model's context leave it open, tokens."""


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
    judge: JudgeChoice | None = None
    """The command line's, in place of the specification's."""
    ask_servers: bool = True
    """Whether servers that are given by address are asked who they are, which every run needs."""
    further_rounds: tuple[FurtherRound, ...] = ()
    """What is measured beyond the rounds of the specification, where speeds were not decided at a look."""

    early_stopping: EarlyStoppingPlan | None = None
    """The looks at accuracy, and how far each candidate has come; None before the first, and where all items are asked."""

    def at(self, looks: EarlyStoppingPlan) -> Self:
        """The same study with each candidate at its look; what has been looked up stays."""
        moved = copy(self)
        object.__setattr__(moved, "early_stopping", looks)
        return moved

    def with_rounds(self, further: Sequence[FurtherRound]) -> Self:
        """The same study with these rounds too; what has been looked up stays."""
        moved = copy(self)
        object.__setattr__(moved, "further_rounds", (*self.further_rounds, *further))
        return moved

    def items_of(self, candidate: str, task: str) -> int | None:
        """How many items of a task are asked of a candidate by now; None where it is the specification that says."""
        if self.specification.decide is None:
            return None
        plan = self.early_stopping
        if plan is None:
            return OPENING
        return min(plan.looks[plan.reached.get(candidate, len(plan.looks)) - 1].count, plan.most[task])

    # What the study is about

    @cached_property
    def model(self) -> Model:
        """The base model, on this machine."""
        from whichbits.models.resolve import resolve

        try:
            model = resolve(
                self.specification.model,
                allow_download=self.allow_download,
                trust_remote_code=self.specification.trust_remote_code,
                weights=self.weights,
            )
        except UserError as error:
            raise self.source.placed(("model",), error) from error
        if not model.format.is_base and self.specification.candidates:
            problem = f"{model.path} is quantized already ({model.format.name})"
            raise self.source.error(("model",), problem, "give the 16-bit model as the base, and this one as a candidate")
        return model

    @cached_property
    def base(self) -> str:
        """Name of the base: its format's."""
        return self.model.format.name

    @cached_property
    def engine(self) -> Engine:
        """What serves the candidates, with the base under its own name."""
        return self.specification.engine.of_base(self.base)

    @cached_property
    def hardware(self) -> Hardware:
        """The machine."""
        from whichbits.hardware.this_machine import describe

        return describe()

    @cached_property
    def deployment_caveats(self) -> tuple[str, ...]:
        """What cannot be known of the hardware that the specification names. Raises UserError where it is not here."""
        from whichbits.studies.planning.claims import caveats

        try:
            return caveats(self.specification.deployment, self.specification.engine, self.hardware)
        except UserError as error:
            raise self.source.placed(("deployment",), error) from error

    tasks = cached_property(evaluate.tasks)
    left_out = cached_property(evaluate.left_out)
    workloads = cached_property(serve.workloads)
    imported_speeds = cached_property(imported_speeds.imported)
    prefill_decode = cached_property(prefill_decode.settled)
    matrices = cached_property(quantize.matrices)

    @cached_property
    def max_length(self) -> int:
        """Longest request served, tokens."""
        from whichbits.studies.planning.addresses import longest_request

        asked = evaluate.request_length([task for task, _ in self.tasks])
        apart = self.prefill_decode
        batches = 0 if apart is None else apart.longest_request
        needed = max([asked, batches, *(w.longest_request for w in self.workloads)])
        servers = self.servers
        try:
            taken = longest_request(servers, self.specification.max_length or needed)
        except UserError as error:
            raise self.source.placed(("max_length",), error) from error
        longest = min(self.model.max_positions, taken or self.model.max_positions)
        chosen = self.specification.max_length or min(longest, max(DEFAULT_MAX_LENGTH, needed))
        if chosen > self.model.max_positions or chosen < needed:
            raise self.source.error(
                ("max_length",),
                f"{chosen} does not fit: workloads and tasks need {needed} tokens, "
                f"the model's context has {self.model.max_positions}",
                "choose a length between the two",
            )
        return chosen

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """The base, then the candidates in their order."""
        serves = self.base_engine != "emulated" and not self.nothing_served
        emulates = not serves or any(self._runs(candidate)[1] for candidate in self.specification.candidates)
        model = self.model
        if emulates:
            try:
                refuse_emulation(model)
            except UserError as error:
                raise self.source.placed(("model",), error) from error
        base = Subject(self.base, model.format, serves, emulates, model.files, model.path)
        taken = {self.base}
        found = [base]
        for index, candidate in enumerate(self.specification.candidates):
            if candidate.name in taken:
                raise self.source.error(("candidates", index, "name"), f"{candidate.name!r} is the base's name", "give another")
            taken.add(candidate.name)
            try:
                found.append(_told_apart(self._subject(candidate), found))
            except UserError as error:
                raise self.source.placed(("candidates", index), error) from error
        return tuple(found)

    def _subject(self, candidate: Candidate) -> Subject:
        served, emulated = self._runs(candidate)
        if candidate.checkpoint is not None:
            from whichbits.models.resolve import resolve
            from whichbits.models.same_base import likeness_notes, refuse_another_model

            ready = resolve(
                candidate.checkpoint,
                allow_download=self.allow_download,
                trust_remote_code=self.specification.trust_remote_code,
                weights=self.weights,
            )
            if emulated:
                refuse_emulation(ready)
            trusted = self.specification.trust_remote_code
            refuse_another_model(self.model, ready, trust_remote_code=trusted)
            notes = likeness_notes(candidate.name, self.model, ready, trust_remote_code=trusted)
            return Subject(candidate.name, ready.format, served, emulated, ready.files, ready.path, notes=notes)
        format, made_by = quantize.making(self, candidate)
        return Subject(candidate.name, format, served, emulated, made_by=made_by)

    def _runs(self, candidate: Candidate) -> tuple[bool, bool]:
        """Whether a candidate is served, and whether it is emulated."""
        match candidate.run:
            case "served":
                return True, False
            case "emulated":
                return False, True
            case "both":
                return True, True
            case "auto" | "auto-both":
                served = self.statuses.get(candidate.format or "", "native") == "native"
                return served, not served or candidate.run == "auto-both"

    # Engines

    @property
    def nothing_served(self) -> bool:
        """Whether all candidates are to be emulated and no speed is asked for: then no engine is needed."""
        chosen = self.specification
        speeds = bool(chosen.workloads) or chosen.prefill_decode is not None
        return bool(chosen.candidates) and not speeds and all(one.run == "emulated" for one in chosen.candidates)

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
            raise self.source.placed(("engine", "command"), error) from error

    @cached_property
    def settings(self) -> Settings:
        """Engine arguments and environment, with the specification's over the defaults."""
        from whichbits.engines.vllm.server_arguments import serving_settings

        engine = self.specification.engine
        apart = self.prefill_decode
        sizes = () if apart is None else apart.batch_sizes
        natural = (w.natural_output.concurrency for w in self.workloads if w.natural_output is not None)
        in_flight = (c for w in self.workloads if w.concurrency != "auto" for c in w.concurrency)
        most = max([engine.concurrency, *sizes, *natural, *in_flight])
        settings = serving_settings(
            self.hardware, self.model.configuration.kv_bytes_per_token, max_length=self.max_length, max_concurrency=most
        )
        trusted = {"trust-remote-code": True} if self.specification.trust_remote_code else {}
        return replace(
            settings,
            arguments={**settings.arguments, **trusted, **engine.arguments},
            environment={**settings.environment, **engine.environment},
        )

    @cached_property
    def serving(self) -> ServingEngine:
        """The serving engine as part of a key, the same for all candidates; an address has `server_of` beside it."""
        from whichbits.engines.vllm.server_arguments import MODEL_NAME

        engine = self.specification.engine
        if self.command is None:
            return EngineAtAddress(max_length=self.max_length, concurrency=engine.concurrency)
        return StartedEngine(
            max_length=self.max_length,
            concurrency=engine.concurrency,
            version=self.command.version,
            command=engine.command or None,
            model_name=str(self.settings.arguments.get("served-model-name", MODEL_NAME)),
            arguments=self.settings.arguments,
            environment=self.settings.environment,
        )

    @cached_property
    def servers(self) -> dict[str, EngineIdentity]:
        """Who answers for each candidate that is served at an address of the user's."""
        from whichbits.studies.planning.addresses import check_caches, identities

        if self.command is not None or not self.ask_servers:
            return {}
        weights = {one.name: one.made_by.step.key if one.made_by else one.files for one in self.subjects if one.served}
        try:
            found = identities(self.engine, weights)
            check_caches(found, {one.name: one.format for one in self.subjects}, self.base)
        except UserError as error:
            raise self.source.placed(("engine", "urls"), error) from error
        return found

    def server_of(self, candidate: str) -> EngineIdentity | None:
        """Who answers for a candidate at an address of the user's; None where its server is started here."""
        return self.servers.get(candidate)

    @cached_property
    def emulation(self) -> Emulation:
        """The emulation as part of a key."""
        return Emulation(versions=engine_versions(), threads=self.local_threads)

    @cached_property
    def local_threads(self) -> int:
        """Threads of a local step: what the server leaves where both run side by side."""
        served = len(self.settings.server_cpus) if self.command is not None else 0
        return max(1, self.hardware.cores - served)


def refuse_emulation(model: Model) -> None:
    """Raise UserError for a checkpoint that the emulation does not load."""
    from whichbits.engines.emulation.checkpoints import not_emulated

    if (why := not_emulated(model.configuration.quantization)) is not None:
        raise UserError(
            f"{model.path} cannot be emulated: {why}",
            remedy="have it served, or give the format for whichbits to make and emulate",
        )


def _told_apart(subject: Subject, others: Sequence[Subject]) -> Subject:
    """The subject, counted among those of the same files. Raises UserError for a format that is made twice in the same way."""
    made = subject.made_by
    same = next((other for other in others if made and other.made_by and other.made_by.step.key == made.step.key), None)
    if same is not None:
        raise UserError(
            f"{subject.name!r} is the same format, made by the same recipe, as {same.name!r}",
            remedy="leave one out, or give it a recipe or seed of its own",
        )
    alike = sum(made is None and other.made_by is None and other.files == subject.files for other in others)
    return replace(subject, copy=alike)
