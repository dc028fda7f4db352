"""What lm-evaluation-harness's index says of a task or group, before anything is loaded: members, metrics, definition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

FROM_GROUP = ("group", "task", "group_alias", "aggregate_metric_list", "metadata", "tag")
"""Fields of a group's file that are about the group; the others are its members' too."""


@dataclass(frozen=True)
class Member:
    """One task of a group, or a task by itself."""

    name: str
    config: Mapping[str, Any]
    """Its YAML with what its groups state over it; functions are the paths that name them."""
    file: Path | None
    replaceable: bool
    """Whether its data set is the one that its own file names by `dataset_path`, and can be read from a local copy."""


def members(name: str, index: Mapping[str, Any]) -> tuple[Member, ...]:
    """The task of that name, or all tasks that a group or tag of that name stands for, in the harness's order."""
    found = {member.name: member for member in _named(name, index, {})}
    return tuple(found.values())


def _named(name: str, index: Mapping[str, Any], over: Mapping[str, Any]) -> Iterator[Member]:
    entry = index[name]
    if entry.kind.name == "TAG":
        for inner in sorted(entry.tags):
            if inner in index:
                yield from _named(inner, index, over)
    elif entry.kind.name == "GROUP":
        yield from _grouped(entry.cfg or {}, index, over)
    else:
        own = entry.cfg or {}
        same = not {"dataset_path", "dataset_name", "custom_dataset"} & set(over)
        replaceable = same and bool(own.get("dataset_path")) and "class" not in own and "custom_dataset" not in own
        yield Member(name, {**own, **over}, entry.yaml_path, replaceable)


def _grouped(group: Mapping[str, Any], index: Mapping[str, Any], over: Mapping[str, Any]) -> Iterator[Member]:
    """Members of a group's file, or of a group within a group."""
    over = {**{field: value for field, value in group.items() if field not in FROM_GROUP}, **over}
    listed = group.get("task")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, str):
            yield from _named(item, index, over)
        elif "group" in item:
            stated = {field: value for field, value in item.items() if field != "group"}
            if item["group"] in index:
                yield from _named(item["group"], index, {**over, **stated})
            else:
                yield from _grouped(item, index, over)
        elif item["task"] in index:
            yield from _named(item["task"], index, {**over, **{field: item[field] for field in item if field != "task"}})
        else:
            yield Member(str(item["task"]), {**over, **item}, None, replaceable=False)


def members_metrics(found: tuple[Member, ...]) -> list[dict[str, bool]]:
    """For each member its metrics in its order, and whether the harness averages them; none where only its code says them."""
    return [_metrics(member.config) for member in found]


def _metrics(config: Mapping[str, Any]) -> dict[str, bool]:
    from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY

    listed = config.get("metric_list")
    if not listed:
        if "class" in config or "process_results" in config:
            return {}
        usual = DEFAULT_METRIC_REGISTRY.get(config.get("output_type", "generate_until"), ())
        listed = [{"metric": metric} for metric in usual]
    return {str(entry["metric"]): _averaged(entry) for entry in listed if "metric" in entry}


def _averaged(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of a metric list is a mean over items, as it says or as the harness has it of that metric."""
    from lm_eval.api.registry import get_metric_aggregation

    stated = entry.get("aggregation")
    if stated is not None:
        return bool(stated == "mean")
    return getattr(get_metric_aggregation(str(entry["metric"])), "__name__", "") == "mean"


def definition(found: tuple[Member, ...]) -> str:
    """SHA-256 of the harness's version, each member's configuration, and the Python files next to it."""
    import lm_eval

    root = f"{Path(lm_eval.__file__).parent}/"
    code = {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in {member.file.parent for member in found if member.file is not None}
        for file in sorted(folder.glob("*.py"))
    }
    stated = {
        "lm_eval": version("lm_eval"),
        "members": [[member.name, dict(member.config)] for member in found],
        "code": code,
    }
    text = json.dumps(stated, sort_keys=True, default=str).replace(root, "")
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
