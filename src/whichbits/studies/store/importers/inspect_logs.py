"""Inspect: its evaluation logs, `.eval` (a zip archive) or `.json`, one a task."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.foreign import Setting, Settings, ambiguous, damaged, field, stated
from whichbits.core.text import parse_json, read_bytes
from whichbits.studies.store.importers.importer import (
    ImportedItem,
    ImportedRun,
    ImportedTask,
    Importer,
    chosen_metric,
    refuse_other_count,
    refuse_other_mean,
    unit_score,
)

HEADER = "header.json"
SAMPLES = "samples/"
GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What Inspect counts these values of a score as."""
MEANS = {"accuracy", "mean"}
"""Metrics of Inspect that are the mean of the items' scores."""
PREFERRED = ("choice", "match", "includes", "exact", "pattern", "answer")
OF_A_SAMPLE = ("id", "epoch", "input", "choices", "target", "messages", "scores", "error")
"""What is read of a sample; its events can be many times as much."""
CONFIG = ("limit", "sample_id", "epochs", "epochs_reducer", "message_limit", "token_limit", "time_limit")


class InspectImporter(Importer):
    """Inspect's logs: a file a task, or a folder with several of one model."""

    name = "inspect"
    reads = "a log .eval or .json of Inspect, or a folder of them"

    def recognizes(self, path: Path) -> bool:
        """By the ending .eval, or by the fields of the JSON."""
        return any(file.suffix == ".eval" or _is_log(file) for file in _files(path))

    def read(self, path: Path, metric: str | None) -> ImportedRun:
        """A task for each log."""
        logs = [_Log(file) for file in _files(path) if file.suffix == ".eval" or _is_log(file)]
        models = sorted({log.model for log in logs})
        if len(models) > 1:
            raise ambiguous(path, f"logs of {', '.join(models)}")
        tasks = [log.task(metric) for log in logs]
        if len({task.name for task in tasks}) < len(tasks):
            raise ambiguous(path, "several logs of one task")
        settings = Settings()
        versions = sorted({stated(log.evaluation.get("packages", {}).get("inspect_ai")) for log in logs})
        settings.add("inspect_ai", versions, "use one version of Inspect for both")
        engines = sorted({log.model.partition("/")[0] for log in logs})
        settings.add("model provider", engines, "run both by one provider, as hf/ or vllm/")
        return ImportedRun(self.name, path, models[0], engines[0], settings.all(), tuple(tasks))


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.suffix in (".eval", ".json")) if path.is_dir() else [path]


def _is_log(file: Path) -> bool:
    """Whether a JSON file begins as Inspect's logs do, with version, status and eval."""
    if file.suffix != ".json":
        return False
    with file.open("rb") as opened:
        head = opened.read(2000)
    return b'"version"' in head and b'"status"' in head and b'"eval"' in head


class _Log:
    """One log of Inspect."""

    def __init__(self, file: Path) -> None:
        self.file, self.where = file, str(file)
        self.header = _header(file) if file.suffix == ".eval" else _json(file)
        self.evaluation: Mapping[str, Any] = field(self.header, "eval", where=self.where)
        self.model = str(field(self.evaluation, "model", where=self.where))
        if self.header.get("status") != "success":
            raise _unfinished(file, f"ended as {self.header.get('status')!r:.40}")

    def task(self, metric: str | None) -> ImportedTask:
        """The task, each item's score the mean over its epochs."""
        name = str(field(self.evaluation, "task", where=self.where))
        samples = list(self._samples())
        if not samples:
            raise UserError(f"from: {self.file} has no samples", remedy="evaluate with --log-samples")
        for sample in samples:
            if sample.get("error"):
                raise _unfinished(self.file, f"ended in an error on sample {sample.get('id')}")
        scorers = tuple(dict.fromkeys(scorer for sample in samples for scorer in sample.get("scores") or {}))
        chosen = chosen_metric(metric, scorers, PREFERRED, name)
        items = tuple(self._items(samples, name, chosen))
        self._refuse_a_part(name, chosen, samples, items)
        return ImportedTask(name, chosen, self._settings(scorers), items)

    def _refuse_a_part(
        self, name: str, metric: str, samples: Sequence[Mapping[str, Any]], items: Sequence[ImportedItem]
    ) -> None:
        """Raise UserError where the log's own results are of other samples than it has."""
        results = self.header.get("results") or {}
        # A log of before these counts that was converted since has 0 for them.
        refuse_other_count(self.where, name, len(samples), results.get("completed_samples") or None)
        config = self.evaluation.get("config", {})
        chosen = config.get("limit") is not None or config.get("sample_id") is not None
        if not chosen and not results.get("early_stopping"):
            refuse_other_count(self.where, name, len(items), self.evaluation.get("dataset", {}).get("samples"))
        for score in results.get("scores") or []:
            # Parameters may say what a value counts; another reducer than the mean makes other scores of the items.
            if score.get("name") == metric and score.get("reducer") in (None, "mean") and not score.get("unscored_samples"):
                for own in MEANS & score.get("metrics", {}).keys():
                    told = score["metrics"][own]
                    refuse_other_mean(self.where, name, items, None if told.get("params") else told.get("value"))

    def _settings(self, scorers: tuple[str, ...]) -> tuple[Setting, ...]:
        found, again = Settings(), "run the task in one way for both"
        found.add("task_version", self.evaluation.get("task_version"), "use one version of the task for both")
        found.add("task_args", self.evaluation.get("task_args") or {}, again)
        found.add("solver", self.evaluation.get("solver"), again)
        found.add("solver_args", self.evaluation.get("solver_args"), again)
        found.add("plan", [_solver(step) for step in self.header.get("plan", {}).get("steps", [])], again)
        found.add("scorers", sorted(scorers), "score both by the same scorers")
        found.add("scorer options", self.evaluation.get("scorers"), "score both in one way")
        generation = {**self.evaluation.get("model_generate_config", {}), **self.header.get("plan", {}).get("config", {})}
        for concurrency in ("max_connections", "max_retries", "timeout", "attempt_timeout"):
            generation.pop(concurrency, None)
        found.add("generate config", generation, "draw answers in one way for both")
        config = self.evaluation.get("config", {})
        for name in CONFIG:
            found.add(name, config.get(name), again)
        return found.all()

    def _samples(self) -> Iterator[Mapping[str, Any]]:
        if self.file.suffix != ".eval":
            yield from self.header.get("samples") or []
            return
        with _opened(self.file) as archive:
            for name in archive.namelist():
                if name.startswith(SAMPLES) and name.endswith(".json"):
                    sample = _archived(archive, self.file, name)
                    yield {field: sample[field] for field in OF_A_SAMPLE if field in sample}

    def _items(self, samples: list[Mapping[str, Any]], task: str, metric: str) -> Iterator[ImportedItem]:
        by_item: dict[str, list[Mapping[str, Any]]] = {}
        for sample in samples:
            by_item.setdefault(stated(field(sample, "id", where=self.where)), []).append(sample)
        for item, epochs in by_item.items():
            if len({stated(sample.get("epoch", 1)) for sample in epochs}) < len(epochs):
                raise damaged(self.where, f"has a sample {item} twice in an epoch")
            scores = [
                unit_score(
                    _value(field(sample, "scores", metric, "value", where=f"{self.where}, sample {item}")),
                    item=item, task=task, metric=metric,
                )
                for sample in epochs
            ]  # fmt: skip
            first = epochs[0]
            choices = first.get("choices")
            yield ImportedItem(
                item=item,
                prompt=stated([first.get("input"), choices, len(epochs), _asked(first)]),
                target=stated(first.get("target")),
                score=sum(scores) / len(scores),
                prediction=stated(first["scores"][metric].get("answer")),
                chance=1 / len(choices) if choices and metric == "choice" else 0.0,
            )


def _unfinished(file: Path, problem: str) -> UserError:
    return UserError(f"from: the evaluation of {file} {problem}", remedy="finish it, as with: inspect eval-retry")


def _solver(step: Any) -> Any:
    return [step.get("solver"), step.get("params")] if isinstance(step, Mapping) else step


def _asked(sample: Mapping[str, Any]) -> list[Any]:
    """Roles and texts of the messages before the first answer."""
    asked = []
    for message in sample.get("messages") or []:
        if message.get("role") == "assistant":
            break
        asked.append([message.get("role"), message.get("content")])
    return asked


def _value(value: Any) -> Any:
    """A score's value as Inspect's own metrics count it."""
    if isinstance(value, str):
        known = GRADES.get(value, GRADES.get(value.lower()) if len(value) > 1 else None)
        try:
            return float(value) if known is None else known
        except ValueError:
            return value
    return value


def _json(file: Path) -> Any:
    return parse_json(read_bytes(file, str(file)), str(file), form="a log as Inspect wrote it")


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise damaged(file, f"is no archive: {error}") from error


def _header(file: Path) -> Any:
    with _opened(file) as archive:
        return _archived(archive, file, HEADER)


def _archived(archive: zipfile.ZipFile, file: Path, name: str) -> Any:
    """A JSON file of the archive that is open."""
    try:
        content = archive.read(name)
    except KeyError as error:
        raise _unfinished(file, f"did not end: it has no {name}") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise damaged(file, f"holds a damaged {name}: {error}") from error
    except (NotImplementedError, RuntimeError) as error:  # a way of packing that Python does not know, or a password
        raise UserError(
            f"from: {name} of {file} cannot be unpacked: {error}", remedy="convert it: inspect log convert --to json"
        ) from error
    return parse_json(content, f"{file}, {name}", form="a log as Inspect wrote it")
