"""One load, written in the form of each tool."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

EPOCH = 1_790_000_000.0


@dataclass(frozen=True)
class Sent:
    """A request: moments in seconds, the first chunk after `ttft`, the others after the gaps, the end after `rest`."""

    start: float
    ttft: float
    gaps: tuple[float, ...]
    prompt: int
    tokens: int
    rest: float = 0.0
    error: str = ""

    @property
    def last(self) -> float:
        return self.start + self.ttft + sum(self.gaps)

    @property
    def chunks(self) -> list[float]:
        return list(accumulate([self.start + self.ttft, *self.gaps]))


def kept_in_flight(
    streams: int, each: int, *, ttft: float = 0.2, gap: float = 0.1, tokens: int = 9, prompt: int = 16
) -> list[Sent]:
    """Streams that send their next request where the last has ended, shifted against each other."""
    length = ttft + gap * (tokens - 1)
    return [
        Sent(stream * length / streams + number * length, ttft, (gap,) * (tokens - 1), prompt, tokens)
        for number in range(each)
        for stream in range(streams)
    ]


Write = Callable[..., Path]


def vllm_bench(folder: Path, sent: Sequence[Sent], *, streams: int | None, model: str = "org/base", **fields: Any) -> Path:
    result = {
        "date": "20261101-120000", "backend": "vllm", "endpoint_type": "vllm", "label": None, "model_id": model,
        "tokenizer_id": model, "num_prompts": len(sent), "request_rate": "inf", "burstiness": 1.0, "max_concurrency": streams,
        "duration": 1.0, "completed": len(sent), "failed": 0,
        "input_lens": [one.prompt for one in sent], "output_lens": [0 if one.error else one.tokens for one in sent],
        "ttfts": [0.0 if one.error else one.ttft for one in sent], "itls": [[] if one.error else one.gaps for one in sent],
        "latencies": [one.last - one.start for one in sent], "start_times": [one.start + 7 for one in sent],
        "queue_times": [0.0 for one in sent], "generated_texts": ["" for one in sent], "errors": [one.error for one in sent],
        **fields,
    }  # fmt: skip
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / f"result-{result['date']}-{streams}-{result['request_rate']}.json"
    file.write_text(json.dumps(result), encoding="utf-8")
    return file


def guidellm(folder: Path, sent: Sequence[Sent], *, streams: int | None, model: str = "org/base", rate: float = 0.0) -> Path:
    strategy = {"type_": "concurrent", "streams": streams} if streams else {"type_": "poisson", "rate": rate}

    def written(one: Sent) -> dict[str, Any]:
        timings = {
            "targeted_start": EPOCH + one.start, "request_start": EPOCH + one.start, "request_end": EPOCH + one.last + one.rest,
            "first_token_iteration": EPOCH + one.start + one.ttft, "last_token_iteration": EPOCH + one.last,
            "token_iterations": len(one.gaps) + 1, "resolve_start": EPOCH + one.start, "resolve_end": EPOCH + one.last,
        }  # fmt: skip
        return {
            "info": {"timings": timings, "error": one.error or None},
            "prompt_tokens": one.prompt,
            "output_tokens": one.tokens,
        }

    fine, failed = ([written(one) for one in sent if bool(one.error) is bad] for bad in (False, True))
    benchmark = {
        "config": {"strategy": strategy, "backend": {"type_": "openai_http", "target": "http://x", "model": model}},
        "metrics": {"request_totals": {"successful": len(fine), "errored": len(failed), "incomplete": 0}},
        "requests": {"successful": fine, "errored": failed, "incomplete": []},
    }
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / "benchmarks.json"
    metadata = {"version": 2, "guidellm_version": "0.8.1", "platform": "Linux"}
    file.write_text(json.dumps({"metadata": metadata, "benchmarks": [benchmark]}), encoding="utf-8")
    return file


def aiperf(folder: Path, sent: Sequence[Sent], *, streams: int | None, model: str = "org/base", rate: float = 0.0) -> Path:
    def written(one: Sent) -> dict[str, Any]:
        start, end = (int((EPOCH + moment) * 1e9) for moment in (one.start, one.last + one.rest))
        metadata = {"credit_issued_ns": start, "request_start_ns": start, "request_end_ns": end, "benchmark_phase": "profiling"}
        if one.error:
            return {"metadata": metadata, "metrics": {}, "error": {"message": one.error, "type": "X"}}
        values = {
            "time_to_first_token": (one.ttft * 1e3, "ms"), "request_latency": ((one.last - one.start) * 1e3, "ms"),
            "inter_chunk_latency": ([gap * 1e3 for gap in one.gaps], "ms"),
            "input_sequence_length": (one.prompt, "tokens"), "output_sequence_length": (one.tokens, "tokens"),
        }  # fmt: skip
        return {
            "metadata": metadata,
            "metrics": {name: {"value": v, "unit": u} for name, (v, u) in values.items()},
            "error": None,
        }

    phase = {"name": "profiling", "type": "concurrency", "concurrency": streams}
    if not streams:
        phase = {"name": "profiling", "type": "poisson", "rate": rate}
    folder.mkdir(exist_ok=True, parents=True)
    lines = [json.dumps(written(one)) for one in sent]
    warmup = json.loads(lines[0])
    warmup["metadata"]["benchmark_phase"] = "warmup"
    (folder / "profile_export.jsonl").write_text("\n".join([json.dumps(warmup), *lines, ""]), encoding="utf-8")
    summary = {"aiperf_version": "0.13.0", "input_config": {"models": {"items": [{"name": model}]}, "phases": [phase]}}
    (folder / "profile_export_aiperf.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def inference_perf(
    folder: Path, sent: Sequence[Sent], *, streams: int | None, model: str = "org/base", rate: float = 0.0
) -> Path:
    def written(one: Sent) -> dict[str, Any]:
        response = {
            "output_tokens": one.tokens,
            "output_token_times": one.chunks,
            "server_usage": {"completion_tokens": one.tokens},
        }
        error = {"error_type": "X", "error_msg": one.error} if one.error else None
        info = {"input_tokens": one.prompt, "response_metrics": None if one.error else response}
        return {"start_time": one.start, "end_time": one.last + one.rest, "info": info, "error": error}

    folder.mkdir(exist_ok=True, parents=True)
    (folder / "per_request_lifecycle_metrics.json").write_text(json.dumps([written(one) for one in sent]), encoding="utf-8")
    stage = {"count": len(sent), "concurrency": streams} if streams else {"count": len(sent), "requested_rate": rate}
    (folder / "stage_0_lifecycle_metrics.json").write_text(json.dumps({"load_summary": stage}), encoding="utf-8")
    config = {"server": {"type": "vllm", "model_name": model}, "load": {"type": "concurrent" if streams else "poisson"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


WRITERS: dict[str, Write] = {"vllm-bench": vllm_bench, "guidellm": guidellm, "aiperf": aiperf, "inference-perf": inference_perf}
