"""vLLM: the JSON of `vllm bench serve --save-result --save-detailed`.

Its TTFT is from sending to the first chunk that has a choice, ours to the first that brings a token: with `--backend
openai-chat` the first one can be the role alone. Its ITL is the gap between two chunks, as ours is, also where a chunk holds
several tokens. Its TPOT, (E2EL − TTFT) / (output tokens − 1), is ours. Its E2EL ends at the last chunk with a choice, our
latency at the end of the stream. Its rates are over the whole run, the first and the last requests included; ours are over the
steady window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from whichbits.core.errors import UserError
from whichbits.core.foreign import Settings, damaged, field, number
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
    lacks_due,
    observed,
    one_of,
)
from whichbits.serving.observation import Observation

OF_THE_SERVER = ("hardware", "gpu", "device", "accelerator", "engine_version", "vllm_version", "tensor_parallel_size", "tp")
"""What people write of the server with `--metadata KEY=VALUE`, and both runs must share."""


class VllmBenchImporter(SpeedImporter):
    """Results of `vllm bench serve`: a file a load, or a folder of them."""

    name = "vllm-bench"
    reads = "a result of vllm bench serve --save-result --save-detailed, or a folder of them"

    def recognizes(self, path: Path) -> bool:
        """By fields at the beginning."""
        return bool(_files(path))

    def read(self, path: Path) -> ImportedRun:
        """A load for each result."""
        results = [(file, result) for file in _files(path) for result in documents(file, self.name)]
        settings = Settings()
        settings.add("backend", sorted({str(r.get("backend")) for _, r in results}), "measure both by one --backend")
        for name in OF_THE_SERVER:
            if stated := sorted({str(r[name]) for _, r in results if name in r}):
                settings.add(name, stated, "measure both on the same hardware with the same engine")
        loads = tuple(_load(result, file) for file, result in results)
        return ImportedRun(
            tool=self.name,
            path=path,
            model=one_of([str(field(r, "model_id", where=str(file))) for file, r in results], path, "models"),
            settings=settings.all(),
            loads=loads,
            lacks=lacks_due(loads, all("queue_times" in r for _, r in results)),
            unknown=("version and arguments of the engine, and the hardware, but for --metadata", "the client's own load"),
        )


def _files(path: Path) -> list[Path]:
    return [file for file in json_files(path, "*.json", "*.jsonl") if _is_result(head(file))]


def _is_result(beginning: bytes) -> bool:
    return all(name in beginning for name in (b'"model_id"', b'"num_prompts"', b'"request_rate"'))


def _load(result: Mapping[str, Any], path: Path) -> ImportedLoad:
    seen = _requests(result, path)
    began = datetime.strptime(str(field(result, "date", where=str(path))), "%Y%m%d-%H%M%S").timestamp()
    if result.get("ramp_up_strategy") is not None:
        name = f"ramp {float(result['ramp_up_start_rps']):g} to {float(result['ramp_up_end_rps']):g}"
        return as_recorded(seen, name, kind="ramp", began=began)
    rate, streams = result["request_rate"], result["max_concurrency"]
    if rate not in ("inf", math.inf):
        return at_rate(seen, rate, began=began, burstiness=float(result["burstiness"]))
    return in_flight(seen, len(seen) if streams is None else streams, began=began, path=path)


def _requests(result: Mapping[str, Any], path: Path) -> list[Observation]:
    if "ttfts" not in result or "start_times" not in result:
        missing = "ttfts" if "ttfts" not in result else "start_times"
        raise UserError(
            f"from: {path} has no {missing} of single requests",
            remedy="measure with --save-detailed, by a vLLM that writes them",
        )
    columns: list[Sequence[Any]] = [
        result[name] for name in ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
    ]
    count = len(columns[0])
    if not count or any(len(column) != count for column in columns):
        raise damaged(path, "has lists of different lengths, or of no request")
    ends = result.get("latencies") or [None] * count
    waits = result.get("queue_times") or [0.0] * count
    return [_request(*row) for row in zip(*columns, ends, waits, strict=True)]


def _request(
    start: float, ttft: float, itls: Sequence[float], prompt: int, output: int, error: str, latency: float | None, waited: float
) -> Observation:
    start, ttft = number(start, "start"), number(ttft, "time to first token")
    first = start + ttft
    last = first + sum(itls)
    return observed(
        start_s=start,
        first_token_s=None if error else first,
        last_token_s=None if error else last,
        end_s=last if latency is None else start + number(latency, "latency"),
        prompt_tokens=prompt,
        output_tokens=output,
        chunks=1 + len(itls),
        gaps_s=tuple(itls),
        due_s=start - waited,
        error=error.strip().split("\n")[-1] if error else None,
    )
