"""AIPerf: `profile_export.jsonl`, a line a request, with `profile_export_aiperf.json` next to it.

Its TTFT is ours. Its inter-token latency is the mean of a request, (latency − TTFT) / (output tokens − those of the first
chunk): our TPOT where the first chunk holds one token. Its inter-chunk latencies are the gaps of our ITL. Its request latency
ends at the last chunk with content, ours at the end of the stream. It counts tokens by its tokenizer, or with
`--use-server-token-count` as the server says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.foreign import Settings, damaged, field, number
from whichbits.core.text import parse_json, read_bytes
from whichbits.serving.importers.importer import (
    ImportedLoad,
    ImportedRun,
    SpeedImporter,
    as_recorded,
    at_rate,
    documents,
    in_flight,
    json_files,
    lacks_due,
    observed,
    one_of,
)
from whichbits.serving.observation import Observation

RECORDS = "profile_export.jsonl"
SUMMARY = "profile_export_aiperf.json"
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}


class AiPerfImporter(SpeedImporter):
    """Artifacts of AIPerf: a folder with both files, or one that holds such folders."""

    name = "aiperf"
    reads = f"a folder of AIPerf's artifacts with {RECORDS} and {SUMMARY}"

    def recognizes(self, path: Path) -> bool:
        """By the names of the files."""
        return bool(_folders(path))

    def read(self, path: Path) -> ImportedRun:
        """A load for each folder."""
        runs = [(folder, _summary(folder)) for folder in _folders(path)]
        requests = [list(_requests(folder)) for folder, _ in runs]
        settings = Settings()
        versions = sorted({str(summary.get("aiperf_version")) for _, summary in runs})
        settings.add("aiperf_version", versions, "measure both by one version of AIPerf")
        if devices := sorted({name for _, summary in runs for name in _devices(summary)}):
            settings.add("hardware", devices, "measure both on the same hardware")
        dated = all("credit_issued_ns" in record["metadata"] for of_run in requests for record in of_run)
        loads = tuple(_load(of_run, *run) for of_run, run in zip(requests, runs, strict=True))
        return ImportedRun(
            tool=self.name,
            path=path,
            model=one_of([_model(summary) for _, summary in runs], path, "models"),
            settings=settings.all(),
            loads=loads,
            lacks=lacks_due(loads, dated),
            unknown=("version and arguments of the engine", "the client's own load"),
        )


def _folders(path: Path) -> list[Path]:
    """Folders with results."""
    if path.name == SUMMARY:
        path = path.with_name(RECORDS)
    return sorted({file.parent for file in json_files(path, RECORDS)})


def _summary(folder: Path) -> Mapping[str, Any]:
    file = folder / SUMMARY
    if not file.is_file():
        raise UserError(f"from: {folder} has no {SUMMARY}, which says the load", remedy="keep the folder as AIPerf left it")
    return documents(file, "aiperf")[0]


def _model(summary: Mapping[str, Any]) -> str:
    config = field(summary, "input_config", where=SUMMARY)
    names = config.get("models") or (config.get("endpoint") or {}).get("model_names") or ["not stated"]
    items = names.get("items", names) if isinstance(names, Mapping) else names
    first = items[0]
    return str(first["name"] if isinstance(first, Mapping) else first)


def _devices(summary: Mapping[str, Any]) -> Iterator[str]:
    for endpoint in ((summary.get("telemetry_data") or {}).get("endpoints") or {}).values():
        for device in endpoint["gpus"].values():
            yield str(device["gpu_name"])


def _requests(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The records of the measured phase."""
    file = folder / RECORDS
    for line in read_bytes(file, str(file)).split(b"\n"):
        if line.strip():
            record = parse_json(line, str(file), form="what AIPerf wrote")
            if field(record, "metadata", "benchmark_phase", where=str(file)) == "profiling":
                yield record


def _load(records: list[Mapping[str, Any]], folder: Path, summary: Mapping[str, Any]) -> ImportedLoad:
    seen = [_observed(record) for record in records if not record["metadata"].get("was_cancelled")]
    cut = [record["metadata"]["request_start_ns"] * 1e-9 for record in records if record["metadata"].get("was_cancelled")]
    if not seen:
        raise damaged(folder, "has no measured request")
    began = min(one.start_s for one in seen)
    phase = _phase(summary["input_config"])
    rate = phase.get("rate", phase.get("request_rate"))
    if rate is not None:
        kind = str(phase.get("type") or phase.get("request_rate_mode"))
        shape = None if kind == "constant" else _shape(phase)
        return at_rate(seen, float(rate), began=began, burstiness=shape, cut=cut)
    if phase.get("concurrency") is not None:
        return in_flight(seen, phase["concurrency"], began=began, path=folder, cut=cut)
    stated = phase.get("type")
    return as_recorded(seen, str(stated or "trace"), kind=None if stated else "trace", began=began, cut=cut)


def _phase(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The load of the measured phase; before AIPerf 0.9 it was `loadgen`."""
    if "loadgen" in config:
        return dict(config["loadgen"])
    measured = [phase for phase in config["phases"] if phase.get("kind", "profiling") == "profiling"]
    found = [phase for phase in measured if phase.get("name") != "warmup"] or measured
    return dict(found[-1])


def _shape(phase: Mapping[str, Any]) -> float:
    """Of the gaps' gamma distribution; 1 where it is not stated."""
    stated = phase.get("smoothness", phase.get("arrival_smoothness"))
    return 1.0 if stated is None else float(stated)


def _observed(record: Mapping[str, Any]) -> Observation:
    metadata, metrics, error = record["metadata"], record["metrics"], record.get("error")
    start, end = (number(metadata[name], name) * 1e-9 for name in ("request_start_ns", "request_end_ns"))
    if error is not None:
        words = str(error.get("message") or error.get("type") or "failed")
        return observed(
            start_s=start,
            first_token_s=None,
            last_token_s=None,
            end_s=end,
            prompt_tokens=0,
            output_tokens=0,
            chunks=0,
            error=words,
        )
    ttft, latency = (_seconds(metrics.get(name)) for name in ("time_to_first_token", "request_latency"))
    gaps = metrics.get("inter_chunk_latency")
    scale = SECONDS[gaps["unit"]] if gaps else 0.0
    due = metadata.get("credit_issued_ns")
    return observed(
        start_s=start,
        first_token_s=None if ttft is None else start + ttft,
        last_token_s=None if latency is None else start + latency,
        end_s=max(end, start + (latency or 0.0)),
        prompt_tokens=metrics["input_sequence_length"]["value"],
        output_tokens=metrics["output_sequence_length"]["value"],
        chunks=1 + len(gaps["value"]) if gaps else 1,
        gaps_s=tuple(number(gap, "gap") * scale for gap in gaps["value"]) if gaps else (),
        due_s=None if due is None else due * 1e-9,
    )


def _seconds(metric: Mapping[str, Any] | None) -> float | None:
    return None if metric is None else number(metric["value"], "time") * SECONDS[metric["unit"]]
