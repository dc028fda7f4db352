"""GuideLLM: its benchmarks as JSON (`benchmarks.json`).

Its TTFT and request latency are ours. Its ITL is the mean of a request, (last − first token) / (output tokens − 1): our TPOT.
Its TPOT, (last token − start) / output tokens, contains the TTFT; we have no such metric. Gaps between chunks it does not
write, so there is no ITL of ours but the mean of each request, from the number of its chunks. Its rates are over the time
between its warm-up and cool-down, by when requests ended; ours count a request by its share in the steady window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.foreign import Settings, field, number
from whichbits.serving.importers.importer import (
    ImportedLoad,
    ImportedRun,
    SpeedImporter,
    as_recorded,
    at_rate,
    documents,
    head,
    in_flight,
    json_files,
    observed,
    one_of,
)
from whichbits.serving.observation import Observation


class GuideLlmImporter(SpeedImporter):
    """A report of GuideLLM with one or more benchmarks, or a folder of reports."""

    name = "guidellm"
    reads = "benchmarks.json of GuideLLM, or a folder of them"

    def recognizes(self, path: Path) -> bool:
        """By the name of its version at the beginning."""
        return bool(_files(path))

    def read(self, path: Path) -> ImportedRun:
        """A load for each benchmark."""
        reports = [(file, report) for file in _files(path) for report in documents(file, self.name)]
        benchmarks = [(file, one) for file, report in reports for one in field(report, "benchmarks", where=str(file))]
        settings = Settings()
        versions = sorted({str(field(report, "metadata", where=str(file)).get("guidellm_version")) for file, report in reports})
        settings.add("guidellm_version", versions, "measure both by one version of GuideLLM")
        return ImportedRun(
            tool=self.name,
            path=path,
            model=one_of([_model(one) for _, one in benchmarks], path, "models"),
            settings=settings.all(),
            loads=tuple(_load(one, file) for file, one in benchmarks),
            unknown=("version and arguments of the engine, and the hardware", "the client's own load"),
        )


def _files(path: Path) -> list[Path]:
    return [file for file in json_files(path, "*.json") if b'"guidellm_version"' in head(file)]


def _model(benchmark: Mapping[str, Any]) -> str:
    backend = benchmark["config"]["backend"]
    return str(backend.get("model") or backend.get("target") or "not stated")


def _load(benchmark: Mapping[str, Any], path: Path) -> ImportedLoad:
    requests, strategy = benchmark["requests"], benchmark["config"]["strategy"]
    kept, made = len(requests["successful"]), benchmark["metrics"]["request_totals"]["successful"]
    if kept < made:
        raise UserError(
            f"from: {path} keeps {kept} of {made} requests", remedy="measure with all requests kept: no sample size of metrics"
        )
    seen = [*_observed(requests["successful"], None), *_observed(requests.get("errored") or [], "failed")]
    if not seen:
        raise UserError(f"from: {path} has a benchmark without a request", remedy="leave it out, or measure it again")
    cut = [start for one in requests.get("incomplete") or [] if (start := _start(one)) is not None]
    began = min(one.start_s for one in seen)
    match strategy["type_"]:
        case "synchronous":
            return in_flight(seen, 1, began=began, path=path, cut=cut)
        case "concurrent":
            return in_flight(seen, strategy["streams"], began=began, path=path, cut=cut)
        case "throughput":
            return in_flight(
                seen, len(seen) if (most := strategy.get("max_concurrency")) is None else most, began=began, path=path, cut=cut
            )
        case "constant":
            return at_rate(seen, float(strategy["rate"]), began=began, cut=cut)
        case "poisson":
            return at_rate(seen, float(strategy["rate"]), began=began, burstiness=1.0, cut=cut)
        case other:
            return as_recorded(seen, str(other), kind="trace" if other == "trace" else None, began=began, cut=cut)


def _observed(requests: list[Mapping[str, Any]], failed: str | None) -> Iterator[Observation]:
    for one in requests:
        timings = one["info"]["timings"]
        start = _start(one)
        if start is None:  # it was never sent
            continue
        yield observed(
            start_s=start,
            first_token_s=timings["first_token_iteration"],
            last_token_s=timings["last_token_iteration"],
            end_s=timings["request_end"] or timings["resolve_end"],
            prompt_tokens=one.get("prompt_tokens") or 0,
            output_tokens=one.get("output_tokens") or 0,
            chunks=timings["token_iterations"] or 0,
            due_s=timings.get("targeted_start"),
            error=None if failed is None else str(one["info"].get("error") or failed),
        )


def _start(one: Mapping[str, Any]) -> float | None:
    timings = one["info"]["timings"]
    start = timings.get("request_start") or timings.get("resolve_start")
    return None if start is None else number(start, "start")
