"""From a specification to a plan: names are looked up, and every step gets its inputs.

With the kinds of steps, the only place where accuracy, similarity, serving and quantization meet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError
from whichbits.schema.step import Cell, Json
from whichbits.studies.planning.plan import Plan, Planned, Served
from whichbits.studies.planning.resolve import Resolution, Subject
from whichbits.studies.specification.schema import TaskChoice
from whichbits.studies.steps.digest import digest
from whichbits.studies.steps.registry import KINDS

if TYPE_CHECKING:
    from whichbits.accuracy.task import Task


@dataclass(frozen=True)
class Expansion(Resolution):
    """The cells of a study."""

    def plan(self) -> Plan:
        """All cells of the study."""
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
        self._check_urls(served)
        cells: list[Planned] = []
        for part in (self._checkpoints, self._probes, self._scores, self._texts, self._distributions, self._speeds):
            cells += part()
        return Plan(self.specification, self.base, tuple(cells), served)

    def _check_urls(self, served: Mapping[str, Served]) -> None:
        """Where servers are given, every served candidate has one, and every one is a candidate's."""
        engine = self.specification.engine
        missing = [name for name in served if engine.kind == "url" and served[name].url is None]
        if missing:
            raise self.source.error(("engine", "urls"), f"no address for {missing[0]}", f"add `{missing[0]}: http://...`")
        named = engine.served_model_name
        unknown = [name for name in ({} if named is None or isinstance(named, str) else named) if name not in served]
        unknown = [name for name in unknown if name not in ("bf16", "fp16")]
        if unknown:
            remedy = f"served here: {', '.join(served)}"
            raise self.source.error(("engine", "served_model_name", unknown[0]), "is no candidate that is served", remedy)
        # A verb of one thing gives the base's address before it is known which dtype names the base.
        strange = [name for name in engine.urls if name not in served and name not in ("bf16", "fp16")]
        if strange:
            remedy = f"served here: {', '.join(served)}"
            raise self.source.error(("engine", "urls", strange[0]), "is no candidate that is served", remedy)

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
                KINDS["probe"].version,
                inputs,
                labels={"candidate": subject.name, "format": subject.format.name, "engine": "vllm"},
                places={"command": list(self.command.argv), "tokenizer": str(self.model.path), **self._consent},
            )
            yield Planned(cell, "local")

    @property
    def _consent(self) -> dict[str, Json]:
        """Whether code that comes with the model may run; not part of a key."""
        return {"custom_code": self.specification.trust_remote_code}

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
            KINDS[kind].version,
            {
                **subject.inputs,
                **inputs,
                "hardware": self.hardware.key(),
                **(self.server_of(subject.name) if label != "emulated" else {}),
            },
            _keys(subject.reads()),
            {"candidate": subject.name, **labels, "engine": label},
            {
                **subject.places(),
                "tokenizer": str(self.model.path),
                **self._consent,
                **({"data_dir": str(self.data_dir)} if self.data_dir else {}),
                **(places or {}),
            },
        )
        if label == "emulated":
            return Planned(cell, "local", subject.reads())
        return Planned(cell, "server", subject.reads(), (subject.name,))

    def _scores(self) -> Iterator[Planned]:
        from whichbits.accuracy.kinds.registry import task_kind

        for subject in self.subjects:
            for label, engine in self._engines(subject):
                repeats = self.specification.base_repeats if subject.name == self.base and label != "emulated" else 1
                for repeat in range(repeats):
                    for task, choice in self.tasks:
                        if (repeat and not choice.repeat) or (label == "emulated" and not self._emulates(subject, choice)):
                            continue
                        stated = task.model_dump(mode="json")
                        places = {"source": task.source} if task_kind(task.kind).reads_source else {}
                        inputs = {
                            "task": {**stated, "source": Path(task.source).name} if places else stated,
                            "data": self._data_hash(task),
                            "limit": choice.limit,
                            "seed": self.specification.seed,
                            "repeat": repeat,
                            "engine": self._repeated(engine, repeat),
                        }
                        named = {"task": task.name, "repeat": str(repeat)}
                        yield self._on_engine("evaluate", subject, label, inputs, named, places)

    def _data_hash(self, task: Task) -> str | None:
        """Hash of the files that a task reads on this machine, where it reads any."""
        from whichbits.accuracy.kinds.registry import task_kind

        files = task_kind(task.kind).data_files(task, self.data_dir)
        if files is None:
            return None
        from whichbits.core.home import cache_directory
        from whichbits.models.cache import file_sha256

        return digest({name: file_sha256(file, cache_directory()) for name, file in files.items()})

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

        if wanted.max_tokens >= self.max_length:
            problem = f"{wanted.max_tokens} leaves no room for a prompt in the {self.max_length} tokens of a request"
            raise self.source.error(("similarity", "max_tokens"), problem, "choose a smaller one, or a larger max_length")
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
        encoders = {
            "bertscore": self._encoder("bertscore_encoder", wanted.bertscore_encoder),
            "sts": self._encoder("encoder", wanted.encoder),
        }
        for name, planned in generated.items():
            if name != self.base:
                reads = {"base": generated[self.base].cell, "candidate": planned.cell}
                cell = Cell(
                    "compare", KINDS["compare"].version, {"encoders": encoders}, _keys(reads), dict(planned.cell.labels)
                )
                yield Planned(cell, "local", reads)

    def _encoder(self, field: str, name: str) -> str | None:
        """A folder or a hub id; None for the embedded encoder."""
        if name == "all-minilm-l6-v2":
            return None
        if name.startswith((".", "/", "~")) and not os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises for odd names
            problem = f"there is no folder {name!r:.200}"
            raise self.source.error(("similarity", field), problem, "give a folder, a hub id, or all-minilm-l6-v2")
        return name

    def _distributions(self) -> Iterator[Planned]:
        wanted = self.specification.similarity
        if wanted is None:
            return
        from whichbits.similarity.windows import builtin_documents, read_document

        if wanted.window_tokens > self.model.max_positions:
            problem = f"{wanted.window_tokens} is longer than the model's context, {self.model.max_positions} tokens"
            raise self.source.error(("similarity", "window_tokens"), problem, "choose a shorter window")
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
                        "servers": {**self.server_of(subject.name), **self.server_of(base.name, "base")},
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
                    places = {
                        **subject.places(),
                        "tokenizer": str(self.model.path),
                        "base": base.name,
                        "base_checkpoint": str(base.folder),
                        **self._consent,
                    }
                    cell = Cell("serve", KINDS["serve"].version, inputs, _keys(subject.reads()), labels, places)
                    yield Planned(cell, "sitting", subject.reads(), tuple(dict.fromkeys((base.name, subject.name))))


def _keys(reads: Mapping[str, Cell]) -> dict[str, str]:
    return {role: cell.key for role, cell in reads.items()}


def _stride(available: int, limit: int | None) -> int:
    """Step that spreads `limit` items over all that there are."""
    return max(1, available // limit) if limit else 1
