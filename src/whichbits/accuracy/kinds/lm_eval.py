"""lm-evaluation-harness's own tasks and groups, from the hub or from a local directory."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from whichbits.accuracy.local_data import dataset_folder, local_dataset
from whichbits.accuracy.task import Task
from whichbits.core.errors import UserError


def public_tasks(task: Task, *, data_dir: Path | None) -> dict[str, Any]:
    """lm-evaluation-harness's task objects for a task or group of its, by name, with our few-shot number set."""
    manager = _manager()
    _check_known(task, manager)
    try:
        specs = [task.source] if data_dir is None else _local(task.source, data_dir, manager)
        loaded: dict[str, Any] = manager.load(specs)["tasks"]
    except (OSError, ModuleNotFoundError) as error:  # no network, a gated data set, a package that the task needs
        place = f"in {data_dir}" if data_dir else "on the hub"
        raise UserError(
            f"task: the data of {task.source} could not be loaded {place}: {' '.join(str(error).split())[:300]}",
            remedy="check the network and the hub's token (HF_TOKEN), or give a local copy with data_dir",
        ) from error
    for harness_task in loaded.values():
        if getattr(harness_task, "UNSAFE_CODE", False):
            raise UserError(
                f"task: {task.source} runs generated code outside a sandbox", remedy="use the task humaneval, which has one"
            )
        if harness_task.get_config("num_fewshot") is None or task.num_fewshot is not None:
            harness_task.set_config(key="num_fewshot", value=task.num_fewshot or 0)
    return loaded


def data_files(task: Task, data_dir: Path) -> dict[str, Path]:
    """Files of `data_dir` that a task or the members of a group read, by their name within it.

    Raises UserError where the task is not known or a data set is not there.
    """
    manager = _manager()
    _check_known(task, manager)
    folders = {dataset_folder(data_dir, name) for name in _data_sets(task.source, manager.task_index)}
    found = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(data_dir)): file for file in found}


def _data_sets(member: str | Mapping[str, Any], index: Mapping[str, Any]) -> Iterator[str]:
    """Data sets of a task, group or tag by name, or of a group's member as its group states it."""
    if not isinstance(member, str):
        yield from (
            [member["dataset_path"]] if "dataset_path" in member else _data_sets(member.get("task", member.get("group")), index)
        )
        return
    entry = index[member]
    stated = entry.cfg or {}
    if "dataset_path" in stated:
        yield stated["dataset_path"]
    members = entry.tags if entry.kind.name == "TAG" else stated.get("task")
    for inner in members if isinstance(members, list | set) else ():
        yield from _data_sets(inner, index)


def _check_known(task: Task, manager: Any) -> None:
    if task.source not in manager.task_index:
        near = difflib.get_close_matches(task.source, manager.all_tasks, n=3)
        raise UserError(
            f"task: lm-evaluation-harness has no task {task.source!r}",
            remedy=f"did you mean {' or '.join(near)}?" if near else "list its tasks with: lm-eval ls tasks",
        )


@cache
def _manager() -> Any:
    """lm-evaluation-harness's index of its tasks, which takes seconds to read."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _local(source: str, data_dir: Path, manager: Any) -> list[Any]:
    """A task, or the members of a group or tag, with the data sets of `data_dir`."""
    from lm_eval.tasks._factory import TaskFactory

    by_file = {str(entry.yaml_path): entry.cfg for entry in manager.task_index.values() if entry.cfg}

    def load(**arguments: Any) -> Mapping[str, Any]:
        config = by_file[arguments["config_source"]]
        return local_dataset(data_dir, config["dataset_path"], config.get("dataset_name"))

    # The manager's own way with overrides loses the names of a group's members.
    registry = manager.task_index
    built = TaskFactory().build(registry[source], overrides={"custom_dataset": load}, registry=registry)
    return built if isinstance(built, list) else [built]
