"""LightEval: the details of its tasks, `details/MODEL/DATE/details_TASK_DATE.parquet`, saved with `--save-details`.

Two forms are read: since 0.10 a row holds `doc`, `metric` and `model_response`, before it a column for each field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.foreign import Settings, ambiguous, damaged, field, stated
from whichbits.core.text import parse_json, read_bytes
from whichbits.studies.store.importers.importer import (
    ImportedItem,
    ImportedRun,
    ImportedTask,
    Importer,
    chosen_metric,
    numbered,
    refuse_other_count,
    refuse_other_mean,
    unit_score,
)

PREFIX = "details_"
PREFERRED = ("acc_norm", "acc", "extractive_match", "exact_match", "em", "pass@1")
NOT_COUNTED = -1
"""What LightEval has for the number of items before it counted them."""
MODEL_FIELDS = ("dtype", "generation_parameters", "system_prompt", "add_special_tokens", "use_chat_template",
                "override_chat_template", "max_model_length", "max_length")  # fmt: skip
"""What of a model's configuration changes prompts and answers without being the model."""


class LightEvalImporter(Importer):
    """LightEval's details: one Parquet file a task."""

    name = "lighteval"
    reads = "a folder with details_*.parquet of LightEval"

    def recognizes(self, path: Path) -> bool:
        """By the names of the files."""
        return bool(_files(path))

    def read(self, path: Path, metric: str | None) -> ImportedRun:
        """A task for each file of the one run in a folder."""
        files = _files(path)
        dates = sorted({_parts(file)[1] for file in files})
        if len(dates) > 1:
            raise ambiguous(path, f"{len(dates)} runs of LightEval: {', '.join(dates[:3])}")
        results = _results(files[0], dates[0])
        general = results.get("config_general", {}) if results else {}
        settings = Settings()
        again = "run LightEval for both in one way"
        if results:
            settings.add("lighteval_sha", general.get("lighteval_sha"), "use one version of LightEval for both")
            settings.add("max_samples", general.get("max_samples"), "ask both as many items")
            settings.add("num_fewshot_seeds", general.get("num_fewshot_seeds"), again)
            model = general.get("model_config") or {}
            for name in MODEL_FIELDS:
                if name in model or name in general:
                    settings.add(name, model.get(name, general.get(name)), again)
        return ImportedRun(
            tool=self.name,
            path=path,
            model=str(general.get("model_name") or files[0].parent.parent.name),
            engine=self.name,
            settings=settings.all(),
            tasks=tuple(_task(file, metric, results) for file in files),
            unknown=() if results else ("settings of the run (results_*.json is not next to the details)",),
        )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob(f"{PREFIX}*.parquet"))
    return [path] if path.name.startswith(PREFIX) and path.suffix == ".parquet" else []


def _parts(file: Path) -> tuple[str, str]:
    """Task and date of a file's name, details_TASK_DATE.parquet; the date has no underscore."""
    task, _, date = file.stem.removeprefix(PREFIX).rpartition("_")
    return task, date


def _results(file: Path, date: str) -> Any:
    """`results/MODEL/results_DATE.json` of the same run; None where it is not there."""
    for folder in file.parents[:5]:
        found = next(iter(sorted((folder / "results").rglob(f"results_{date}.json"))), None)
        if found is not None:
            return parse_json(read_bytes(found, str(found)), str(found), form="what LightEval wrote")
    return None


def _task(file: Path, metric: str | None, results: Any) -> ImportedTask:
    name, _ = _parts(file)
    rows = _rows(file)
    metrics = tuple(rows[0].metrics)
    chosen = chosen_metric(metric, metrics, PREFERRED, name)
    settings = Settings()
    settings.add("metrics", sorted(metrics), "score both by the same metrics")
    settings.add("num_asked_few_shots", sorted({row.shots for row in rows}), "ask both with as many examples")
    if results:
        settings.add("version", results.get("versions", {}).get(name), "use one version of the task for both")
        settings.add("task", _configuration(results, name), "define the task in one way for both")
    items = tuple(
        ImportedItem(
            item=item,
            prompt=row.prompt,
            target=row.target,
            score=unit_score(_number(row.metrics.get(chosen)), item=item, task=name, metric=chosen),
            prediction=row.prediction,
            chance=row.chance if chosen.startswith("acc") else 0.0,
        )
        for item, row in zip(numbered(row.item for row in rows), rows, strict=True)
    )
    if results:
        configuration = _configuration(results, name)
        asked = configuration.get("effective_num_docs") if isinstance(configuration, Mapping) else None
        refuse_other_count(file, name, len(items), None if asked == NOT_COUNTED else asked)
        if chosen in PREFERRED:  # the score of another metric may be no mean
            refuse_other_mean(file, name, items, (results.get("results", {}).get(name) or {}).get(chosen))
    return ImportedTask(name=name.replace("|", ":"), metric=chosen, settings=settings.all(), items=items)


def _configuration(results: Any, name: str) -> Any:
    """A task's configuration, which is under its name with the number of shots or without; older versions write a text."""
    found = results.get("config_tasks", {})
    return found.get(name, found.get(name.rpartition("|")[0]))


def _number(value: Any) -> Any:
    """A metric's value; of several samples' values their mean."""
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        return sum(value) / len(value)
    return value


class _Row:
    """A row of details in either form."""

    def __init__(self, row: Mapping[str, Any], number: int, where: str) -> None:
        self.metrics: Mapping[str, Any]
        if "doc" in row:
            doc, answer = field(row, "doc", where=where), row.get("model_response") or {}
            metrics, choices, gold = field(row, "metric", where=where), doc.get("choices"), doc.get("gold_index")
            self.shots = doc.get("num_asked_few_shots")
            asked = [doc.get("instruction"), doc.get("query"), choices, answer.get("input"), doc.get("generation_size")]
            self.prediction = stated(answer.get("text"))
        else:
            metrics, choices, gold = field(row, "metrics", where=where), row.get("choices"), row.get("gold_index")
            self.shots = row.get("num_asked_few_shots")
            asked = [row.get("instruction"), field(row, "full_prompt", where=where), choices]
            self.prediction = stated(row.get("predictions"))
            gold = gold if gold not in (None, []) else row.get("gold")
        if not isinstance(metrics, Mapping):
            raise UserError(
                f"from: {where} holds its metrics as text, which LightEval writes where rows differ in form",
                remedy="save the details with another version of LightEval, or import the task from another tool",
            )
        self.item = f"{number}"
        self.metrics = {name: value for name, value in metrics.items() if value is not None}
        self.prompt, self.target = stated(asked), stated(gold)
        rights = gold if isinstance(gold, Sequence) and not isinstance(gold, str) else [gold]
        self.chance = len(rights) / len(choices) if choices and len(choices) > 1 else 0.0


def _rows(file: Path) -> list[_Row]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        rows = parquet.read_table(file).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise damaged(file, f"cannot be read: {' '.join(str(error).split())}") from error
    if not rows:
        raise damaged(file, "has no items")
    return [_Row(row, number, str(file)) for number, row in enumerate(rows)]
