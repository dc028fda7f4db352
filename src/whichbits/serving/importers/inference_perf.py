"""inference-perf: reports with `per_request_lifecycle_metrics.json`, and a `stage_N_lifecycle_metrics.json` a stage.

Its TTFT and latency are ours. Its TPOT, (last − first token) / (output tokens − 1), is ours; its normalized TPOT is latency /
output tokens, of which we have none. Its ITL is the gap between two tokens, so that it is 0 within a chunk of several; ours is
the gap between chunks: moments that several tokens share are one. It counts output tokens by its tokenizer; where the report
has the server's usage, that is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from whichbits.core.errors import UserError
from whichbits.core.foreign import Settings, damaged
from whichbits.core.text import parse_json, read_bytes, read_text
from whichbits.serving.importers.importer import (
    ImportedLoad,
    ImportedRun,
    SpeedImporter,
    at_rate,
    documents,
    in_flight,
    json_files,
    lacks_due,
    observed,
    one_of,
)
from whichbits.serving.observation import Observation

REQUESTS = "per_request_lifecycle_metrics.json"
STAGE = re.compile(r"stage_(\d+)_lifecycle_metrics\.json")


class InferencePerfImporter(SpeedImporter):
    """Reports of inference-perf: a folder of one run, or one that holds such folders."""

    name = "inference-perf"
    reads = f"a folder of inference-perf's reports with {REQUESTS} (request_lifecycle: per_request: true)"

    def recognizes(self, path: Path) -> bool:
        """By the names of the files."""
        return bool(_folders(path))

    def read(self, path: Path) -> ImportedRun:
        """A load for each stage."""
        folders = _folders(path)
        configs = [_config(folder) for folder in folders]
        settings = Settings()
        types = sorted({str((config.get("server") or {}).get("type")) for config in configs})
        settings.add("server type", types, "measure both with one kind of server")
        loads = tuple(load for folder, config in zip(folders, configs, strict=True) for load in _loads(folder, config))
        return ImportedRun(
            tool=self.name,
            path=path,
            model=one_of([_model(config) for config in configs], path, "models"),
            settings=settings.all(),
            loads=loads,
            lacks=lacks_due(loads, told=False),
            unknown=("version and arguments of the engine, and the hardware", "the client's own load"),
        )


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        path = path.parent if STAGE.fullmatch(path.name) or path.name == REQUESTS else path
    if not path.is_dir():
        return []
    found = sorted({file.parent for file in json_files(path, REQUESTS)})
    if not found and any(STAGE.fullmatch(file.name) for file in path.iterdir()):
        raise UserError(
            f"from: {path} has no {REQUESTS}", remedy="measure with report: {request_lifecycle: {per_request: true}}"
        )
    return found


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"from: {folder} has no config.yaml", remedy="keep the folder as inference-perf left it")
    found = yaml.safe_load(read_text(file, str(file)))
    if not isinstance(found, Mapping):
        raise damaged(file, "is no configuration")
    return found


def _model(config: Mapping[str, Any]) -> str:
    return str((config.get("server") or {}).get("model_name") or "not stated")


def _loads(folder: Path, config: Mapping[str, Any]) -> Iterator[ImportedLoad]:
    """The requests by stage: they are in one list, and stages follow one another."""
    file = folder / REQUESTS
    requests: list[Mapping[str, Any]] = parse_json(read_bytes(file, str(file)), str(file), form="what inference-perf wrote")
    requests = sorted(requests, key=lambda one: float(one["start_time"]))
    stages = sorted((int(found[1]), one) for one in folder.iterdir() if (found := STAGE.fullmatch(one.name)))
    if not stages:
        raise UserError(f"from: {folder} has no report of a stage", remedy="measure with request_lifecycle: {per_stage: true}")
    summaries = [documents(one, "inference-perf")[0]["load_summary"] for _, one in stages]
    if sum(int(summary["count"]) for summary in summaries) != len(requests):
        raise damaged(folder, f"has {len(requests)} requests, and other numbers in its stages")
    poisson = str((config.get("load") or {}).get("type")) == "poisson"
    begin = 0
    for summary in summaries:
        seen = [_observed(one) for one in requests[begin : begin + int(summary["count"])]]
        begin += len(seen)
        began = min(one.start_s for one in seen)
        if summary.get("concurrency") is not None:
            yield in_flight(seen, summary["concurrency"], began=began, path=folder)
        else:
            yield at_rate(seen, float(summary["requested_rate"]), began=began, burstiness=1.0 if poisson else None)


def _observed(one: Mapping[str, Any]) -> Observation:
    info = one.get("info") or {}
    response = info.get("response_metrics") or info
    usage = response.get("server_usage") or {}
    times: Sequence[float] = response.get("output_token_times") or []
    arrivals = sorted(set(times))
    error = one.get("error")
    prompt = usage.get("prompt_tokens") or info.get("input_tokens") or 0
    return observed(
        start_s=one["start_time"],
        first_token_s=arrivals[0] if arrivals else None,
        last_token_s=arrivals[-1] if arrivals else None,
        end_s=one["end_time"],
        prompt_tokens=prompt,
        output_tokens=usage.get("completion_tokens") or response.get("output_tokens") or 0,
        chunks=len(arrivals),
        gaps_s=tuple(later - earlier for earlier, later in pairwise(arrivals)),
        error=None if error is None else str(error.get("error_msg") or error.get("error_type") or "failed"),
    )
