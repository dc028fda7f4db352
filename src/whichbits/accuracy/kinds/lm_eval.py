"""lm-evaluation-harness's own tasks and groups, from the hub or from a local directory."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from whichbits.accuracy.harness import HarnessTask
from whichbits.accuracy.kind import HarnessKind
from whichbits.accuracy.kinds.lm_eval_index import Member, definition, members, members_metrics
from whichbits.accuracy.local_data import dataset_folder, local_dataset
from whichbits.accuracy.task import Task, TaskRequest
from whichbits.core.errors import UserError

PER_ITEM = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "accuracy")
"""Metrics that are from 0 to 1 on each item wherever the harness averages them; others have to be asked for."""

EACH_INSTRUCTION = "inst_level_strict_acc"
"""A metric that IFEval's tasks have, and no others."""

SPLIT_INTO_SENTENCES = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})
"""IFEval's instructions that are checked with NLTK's sentence model, which the harness fetches when it loads the task."""


class LmEval(HarnessKind):
    """Tasks, groups and tags of lm-evaluation-harness, by its names."""

    name = "lm-eval"
    options = ("metric", "filter", "num_fewshot", "max_tokens", "chat_template")

    def define(self, request: TaskRequest) -> Task:
        """The harness's task or group that the request's source names.

        Raises UserError for a name, metric or filter that is not there, and for tasks that have no score of an item, ask about
        pictures or sound, or run generated code. Nothing is downloaded.
        """
        self.refuse_options(request)
        found = members_of(request.source)
        for member in found:
            _refuse(request.source, member)
        task = Task(
            name=request.name,
            version=1,
            kind=self.name,
            source=request.source,
            description=f"lm-evaluation-harness's {request.source}.",
            metric=_metric(request, found),
            filter=request.filter,
            max_tokens=request.max_tokens,
            num_fewshot=request.num_fewshot,
            chat_template=bool(request.chat_template),
            definition=definition(found),
        )
        _check_filter(task, found)
        return task

    def check(self, task: Task) -> None:
        """Raise UserError where the harness that is installed defines the task in another way than when it was planned."""
        super().check(task)
        if task.definition is not None and task.definition != definition(members_of(task.source)):
            raise UserError(
                f"task: lm-evaluation-harness defines {task.source} here in another way than where the study was planned",
                remedy="install the same version of lm-eval in both places, or plan the study again",
            )

    def may_think(self, task: Task) -> bool:
        """Not where a member compares likelihoods, or begins the answer itself."""
        begun = any(member.config.get("gen_prefix") for member in members_of(task.source))
        return task.chat_template and not begun and not self.reads_logprobs(task)

    def reads_logprobs(self, task: Task) -> bool:
        """Where a member compares likelihoods."""
        found = [member.config for member in members_of(task.source)]
        return any(config.get("output_type", "generate_until") != "generate_until" for config in found)

    def harness_tasks(self, task: Task, *, seed: int, data_dir: Path | None) -> dict[str, HarnessTask]:
        """The harness's task objects, with the task's few-shot number."""
        return public_tasks(task, data_dir=data_dir)

    def data_files(self, task: Task, data_dir: Path | None) -> Mapping[str, Path] | None:
        """Files of `data_dir`, where there is one; data sets of the hub are not known before they are loaded."""
        return None if data_dir is None else data_files(task, data_dir)


def public_tasks(task: Task, *, data_dir: Path | None) -> dict[str, HarnessTask]:
    """lm-evaluation-harness's task objects for a task or group of its, by name, with our few-shot number set."""
    index = _known(task.source)
    try:
        specs = [task.source] if data_dir is None else _local(task.source, data_dir, index)
        loaded: dict[str, HarnessTask] = _manager().load(specs)["tasks"]
    except ModuleNotFoundError as error:
        raise UserError(
            f"task: {task.source} needs the package {error.name}",
            remedy=f"install it next to lm-eval: pip install {error.name}",
        ) from error
    except OSError as error:  # no network, a gated data set
        place = f"in {data_dir}" if data_dir else "on the hub"
        raise UserError(
            f"task: the data of {task.source} could not be loaded {place}: {' '.join(str(error).split())[:300]}",
            remedy="check the network and the hub's token (HF_TOKEN), or give a local copy with data_dir",
        ) from error
    for harness_task in loaded.values():
        if getattr(harness_task, "UNSAFE_CODE", False):
            raise _unsafe(task.source)
        if any(entry["metric"] == EACH_INSTRUCTION for entry in harness_task.get_config("metric_list") or ()):
            _check_sentence_model(task.source, harness_task.eval_docs)
        if harness_task.get_config("num_fewshot") is None or task.num_fewshot is not None:
            harness_task.set_config(key="num_fewshot", value=task.num_fewshot or 0)
    return loaded


def _check_sentence_model(source: str, documents: Iterable[Any]) -> None:
    """Raise UserError where a document needs NLTK's sentence model, and it is not on this machine.

    Scoring would fail after all answers are generated.
    """
    if all(SPLIT_INTO_SENTENCES.isdisjoint(document["instruction_id_list"]) for document in documents):
        return
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        raise UserError(
            f"task: {source} needs NLTK's sentence model punkt_tab, which is not on this machine",
            remedy="run `python -m nltk.downloader -d FOLDER punkt_tab` where there is a network, and set NLTK_DATA=FOLDER",
        ) from None


def members_of(source: str) -> tuple[Member, ...]:
    """The task of lm-evaluation-harness that is called so, or the tasks of that group or tag. Raises UserError for others."""
    return members(source, _known(source))


def data_files(task: Task, data_dir: Path) -> dict[str, Path]:
    """Files of `data_dir` that a task or the members of a group read, by their name within it.

    Raises UserError where the task is not known or a data set is not there.
    """
    named = {member.config.get("dataset_path") for member in members_of(task.source)}
    folders = {dataset_folder(data_dir, name) for name in sorted(filter(None, named))}
    found = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(data_dir)): file for file in found}


def _metric(request: TaskRequest, found: tuple[Member, ...]) -> str:
    """The metric that is asked for, or the first that is from 0 to 1; all members must have it, averaged over items.

    What the metrics of a task are that only its own code says is not known here: then one has to be asked for.
    """
    stated = members_metrics(found)
    if not all(stated):
        if request.metric is None:
            raise UserError(
                f"metric: the metrics of {request.source} are known to its own code alone", remedy="set metric to one of them"
            )
        return request.metric
    shared = [metric for metric in stated[0] if all(others.get(metric) for others in stated)]
    if not shared:
        some = ", ".join(member.name for member in found[:5])
        raise UserError(
            f"metric: {request.source} has no metric that is an average over the items of all its members",
            remedy=f"choose another task, or one of {some}" if len(found) > 1 else "choose another task",
        )
    if request.metric is not None and request.metric not in shared:
        raise UserError(
            f"metric: {request.source} has no metric {request.metric!r} that is an average over items",
            remedy=f"choose from {', '.join(shared)}",
        )
    chosen = request.metric or next((metric for metric in shared if metric in PER_ITEM), None)
    if chosen is None:
        raise UserError(
            f"metric: which metric of {request.source} is from 0 to 1 on each item is not known",
            remedy=f"set metric to the one of {', '.join(shared)} that is",
        )
    return chosen


def _check_filter(task: Task, found: tuple[Member, ...]) -> None:
    for member in found:
        listed = member.config.get("filter_list")
        names = [entry["name"] for entry in listed] if isinstance(listed, list) else ["none"]
        if task.filter is not None and task.filter not in names:
            raise UserError(f"filter: {member.name} has no filter {task.filter!r}", remedy=f"choose from {', '.join(names)}")


def _refuse(source: str, member: Member) -> None:
    """Raise UserError for what cannot be scored item by item, asks for more than text, or runs what the model writes."""
    if member.config.get("unsafe_code"):
        raise _unsafe(source)
    if member.config.get("output_type") == "loglikelihood_rolling":
        raise UserError(
            f"task: {member.name} measures perplexity, which has no score from 0 to 1 for each item",
            remedy="compare perplexities through the study's next-token distributions instead",
        )
    if member.config.get("doc_to_image") or member.config.get("doc_to_audio"):
        raise UserError(f"task: {member.name} asks about pictures or sound", remedy="choose a task of text alone")


def _unsafe(source: str) -> UserError:
    return UserError(f"task: {source} runs generated code outside a sandbox", remedy="use the task humaneval, which has one")


def _known(source: str) -> Mapping[str, Any]:
    """The harness's index. Raises UserError where it has no task, group or tag of that name."""
    index: Mapping[str, Any] = _manager().task_index
    if source not in index:
        near = difflib.get_close_matches(source, index, n=3)
        raise UserError(
            f"task: lm-evaluation-harness has no task {source!r}",
            remedy=f"did you mean {' or '.join(near)}?" if near else "list its tasks with: lm-eval ls tasks",
        )
    return index


@cache
def _manager() -> Any:
    """lm-evaluation-harness's index of its tasks, which takes seconds to read."""
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise UserError(
            "task: tasks of lm-evaluation-harness need the package lm-eval", remedy="pip install 'whichbits[measure]'"
        ) from error
    return TaskManager()


def _local(source: str, data_dir: Path, index: Mapping[str, Any]) -> list[Any]:
    """A task, or the members of a group or tag, with the data sets of `data_dir`."""
    from lm_eval.tasks._factory import TaskFactory

    for member in members(source, index):
        if not member.replaceable:
            raise UserError(
                f"data_dir: {member.name} of {source} states its data in a way that a local copy cannot replace",
                remedy="leave the task out, or run it without data_dir",
            )
    by_file = {str(entry.yaml_path): entry.cfg for entry in index.values() if entry.cfg}

    def load(**arguments: Any) -> Mapping[str, Any]:
        config = by_file[arguments["config_source"]]
        return local_dataset(data_dir, config["dataset_path"], config.get("dataset_name"))

    # The manager's own way with overrides loses the names of a group's members.
    built = TaskFactory().build(index[source], overrides={"custom_dataset": load}, registry=dict(index))
    return built if isinstance(built, list) else [built]
