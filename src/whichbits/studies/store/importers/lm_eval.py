"""lm-evaluation-harness: `results_DATE.json` and `samples_TASK_DATE.jsonl`, as `--output_path --log_samples` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.foreign import Setting, Settings, damaged, field, stated, the_only
from whichbits.core.text import json_lines, parse_json, read_bytes
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

RESULTS = "results_"
PREFERRED = ("acc_norm", "acc", "exact_match", "prompt_level_strict_acc", "pass@1", "em", "accuracy")
"""Which metric of a task is compared where none is named."""
BY_CHOICE = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")
"""Metrics of a multiple choice that guessing gets right once in as many times as there are choices."""
OF_THE_TASK = ("num_fewshot", "filter_list", "metric_list", "generation_kwargs", "repeats", "output_type")
"""Fields of a task's configuration that are named first when they differ."""
NOT_COMPARED = ("task", "task_alias", "group", "tag", "metadata", "dataset_kwargs")
"""Names, where the data lie, and the model's arguments again."""
NO_METRICS = ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "doc_hash", "prompt_hash",
              "target_hash")  # fmt: skip
OF_THE_MODEL = ("add_bos_token", "max_length", "max_model_len", "max_gen_toks", "prefix_token_id", "enable_thinking",
                "think_end_token", "chat_template_args", "truncation", "softmax_dtype", "mixed_precision_dtype", "temperature",
                "top_p", "seed")  # fmt: skip
"""Arguments of the model that change prompts or answers without being the model."""


class LmEvalImporter(Importer):
    """lm-evaluation-harness's results of one invocation, with the samples next to them."""

    name = "lm-eval"
    reads = "a results_*.json of lm-evaluation-harness, or its folder, with samples_*.jsonl (--log_samples)"

    def recognizes(self, path: Path) -> bool:
        """By the name of the file, and the configurations of tasks in it."""
        return any(b'"configs"' in file.read_bytes() for file in _files(path))

    def read(self, path: Path, metric: str | None) -> ImportedRun:
        """A task for each task and group of tasks; the members of a group are items of one task."""
        file = the_only(_files(path), path, "results of lm-evaluation-harness")
        where = str(file)
        found = parse_json(read_bytes(file, where), where, form="what lm-evaluation-harness wrote")
        config = field(found, "config", where=where)
        tasks = tuple(
            _task(name, members, metric, found, file)
            for name, members in _members(field(found, "configs", where=where), found.get("group_subtasks", {})).items()
        )
        return ImportedRun(
            tool=self.name,
            path=file,
            model=str(found.get("model_name") or _arguments(config).get("pretrained") or file.parent.name),
            engine=str(config.get("model")),
            settings=_settings(found, config),
            tasks=tasks,
            unknown=tuple(_unknown(found)),
        )


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob(f"{RESULTS}*.json"))
    return [path] if path.name.startswith(RESULTS) and path.suffix == ".json" else []


def _arguments(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`--model_args`, which older versions write as one text."""
    given = config.get("model_args") or {}
    if isinstance(given, Mapping):
        return given
    return dict(part.split("=", 1) for part in str(given).split(",") if "=" in part)


def _settings(found: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Setting, ...]:
    settings, template = Settings(), "run both with the same --apply_chat_template and --system_instruction"
    settings.add("lm_eval_version", found.get("lm_eval_version"), "run both by one version of lm-evaluation-harness")
    settings.add("model (engine)", config.get("model"), "run both by one engine (--model)")
    settings.add("chat_template_sha", found.get("chat_template_sha"), template)
    settings.add("system_instruction_sha", found.get("system_instruction_sha"), template)
    settings.add("fewshot_as_multiturn", bool(found.get("fewshot_as_multiturn")), "run both with or without it")
    settings.add("limit", config.get("limit"), "run both with the same --limit")
    settings.add("gen_kwargs", config.get("gen_kwargs") or {}, "run both with the same --gen_kwargs")
    for seed in ("random_seed", "numpy_seed", "torch_seed", "fewshot_seed"):
        settings.add(seed, config.get(seed), "run both with the same --seed")
    settings.add("max_length", found.get("max_length"), "give both the same max_length (or max_model_len)")
    settings.add("tokenizer_bos_token", found.get("tokenizer_bos_token"), "give both the base's tokenizer")
    arguments = _arguments(config)
    dtype = config.get("model_dtype") or arguments.get("dtype")
    settings.add("dtype", str(dtype).removeprefix("torch."), "compute both in one dtype (--model_args dtype=...)")
    for name in OF_THE_MODEL:
        settings.add(f"model_args.{name}", arguments.get(name), "run both with the same --model_args")
    return settings.all()


def _unknown(found: Mapping[str, Any]) -> Iterator[str]:
    """What the file does not state of its tasks."""
    configs, versions, shots = found["configs"], found.get("versions", {}), found.get("n-shot", {})
    if tasks := [task for task in configs if versions.get(task) is None]:
        yield f"version of {', '.join(tasks)}"
    if tasks := [task for task in configs if shots.get(task) is None and configs[task].get("num_fewshot") is None]:
        yield f"shots of {', '.join(tasks)}"


def _members(configs: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The tasks that were run, by the outermost group that holds them, or by themselves."""
    parents = {member: group for group, members in groups.items() for member in members}
    found: dict[str, list[str]] = {}
    for task in configs:
        name, passed = task, {task}
        while (parent := parents.get(name)) is not None and parent not in passed:  # a group may hold itself
            passed.add(parent)
            name = parent
        found.setdefault(name, []).append(task)
    return found


def _task(name: str, members: list[str], metric: str | None, found: Mapping[str, Any], file: Path) -> ImportedTask:
    samples = {member: _samples(file, member) for member in members}
    there = _metrics([sample for rows in samples.values() for sample in rows])
    names = [entry.partition(",")[0] for entry in there]
    preferred = [there[names.index(wanted)] for wanted in PREFERRED if wanted in names]
    asked = metric if metric is None or metric in there else next((e for e in there if e.partition(",")[0] == metric), metric)
    chosen = chosen_metric(asked, there, preferred, name)
    settings = Settings()
    settings.add("metrics and filters", there, "score both by the same metrics and filters")
    for member in members:
        prefix = f"{member}: " if len(members) > 1 else ""
        settings.add(f"{prefix}version", found.get("versions", {}).get(member), "use one version of the task for both")
        settings.add(f"{prefix}n-shot", found.get("n-shot", {}).get(member), "run both with the same --num_fewshot")
        config = found["configs"][member]
        for key in (*OF_THE_TASK, *sorted(set(config) - {*OF_THE_TASK, *NOT_COMPARED})):
            settings.add(f"{prefix}{key}", config.get(key), "define the task in one way for both")
    items: list[ImportedItem] = []
    for member, rows in samples.items():
        config = found["configs"][member]
        read = list(_items(f"{member}/" if len(members) > 1 else "", rows, chosen, name, config, file))
        # Before n-samples counted what was evaluated, it was of all items where --samples chose some.
        refuse_other_count(file, member, len(read), found.get("n-samples", {}).get(member, {}).get("effective"))
        if _is_mean(chosen, config):
            entry, _, filter = chosen.partition(",")
            refuse_other_mean(file, member, read, found.get("results", {}).get(member, {}).get(f"{entry},{filter or 'none'}"))
        items += read
    return ImportedTask(name=name, metric=chosen, settings=settings.all(), items=tuple(items))


def _is_mean(metric: str, config: Mapping[str, Any]) -> bool:
    """Whether the tool makes a task's score of the mean of its items, as far as the configuration says."""
    name = metric.partition(",")[0]
    stated = [entry.get("aggregation") for entry in config.get("metric_list") or [] if entry.get("metric") == name]
    return stated == ["mean"] or (stated == [None] and name in BY_CHOICE)


def _samples(file: Path, task: str) -> list[Mapping[str, Any]]:
    """The samples of a task of the same invocation."""
    path = file.with_name(f"samples_{task}_{file.stem.removeprefix(RESULTS)}.jsonl")
    if not path.is_file():
        raise UserError(f"from: there is no {path.name} next to {file}", remedy="run lm-evaluation-harness with --log_samples")
    rows = [sample for _, sample in json_lines(read_bytes(path, str(path)), str(path))]
    if not rows:
        raise damaged(path, "has no items")
    return rows


def _metrics(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Metrics that all items have, as METRIC, or METRIC,FILTER where there are several filters."""
    filters = tuple(dict.fromkeys(str(row.get("filter", "none")) for row in rows))
    found = []
    for filter in filters:
        of_filter = [row for row in rows if str(row.get("filter", "none")) == filter]
        for metric in of_filter[0].get("metrics", _older_metrics(of_filter[0])):
            if all(metric in row for row in of_filter):
                found.append(metric if filter == "none" else f"{metric},{filter}")
    return tuple(found)


def _older_metrics(row: Mapping[str, Any]) -> list[str]:
    """What in a row is a metric, in versions that do not list them."""
    return [name for name in row if name not in NO_METRICS]


def _items(
    prefix: str, rows: Sequence[Mapping[str, Any]], chosen: str, task: str, config: Mapping[str, Any], file: Path
) -> Iterator[ImportedItem]:
    metric, _, filter = chosen.partition(",")
    choice = config.get("output_type") == "multiple_choice" and metric in BY_CHOICE
    for row in rows:
        if str(row.get("filter", "none")) != (filter or "none"):
            continue
        item = f"{prefix}{field(row, 'doc_id', where=str(file))}"
        requests = _requests(field(row, "arguments", where=str(file)))
        yield ImportedItem(
            item=item,
            prompt=stated([_by_context(requests), row.get("doc_hash")]),
            target=stated(row.get("target")),
            score=unit_score(row[metric], item=item, task=task, metric=chosen),
            prediction=stated(row.get("filtered_resps")),
            chance=_chance(row, requests) if choice else 0.0,
        )


def _requests(arguments: Any) -> list[list[Any]]:
    """The requests of an item, each a context with a continuation or with what generation is to keep to."""
    requests = list(arguments.values()) if isinstance(arguments, Mapping) else list(arguments)
    return [list(request.values()) if isinstance(request, Mapping) else list(request) for request in requests]


def _by_context(requests: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The requests, each context once: it can be long, and is that of all choices."""
    found: dict[str, list[Any]] = {}
    for context, *rest in requests:
        found.setdefault(stated(context), []).append(rest)
    return [[context, rests] for context, rests in found.items()]


def _chance(row: Mapping[str, Any], requests: Sequence[Sequence[Any]]) -> float:
    """Share of the choices that are right."""
    document = row.get("doc")
    if isinstance(document, Mapping) and "mc2_targets" in document:  # TruthfulQA's mc2 is the probability of all true answers
        labels = document["mc2_targets"].get("labels") or [0]
        return float(sum(labels) / len(labels))
    # Continuations without a context are there for mutual information.
    choices = len({stated(request) for request in requests if request[0] != ""})
    target = str(row.get("target"))
    right = target.count(",") + 1 if target.startswith("[") else 1
    return right / choices if choices > right else 0.0
