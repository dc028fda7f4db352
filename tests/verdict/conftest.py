"""Steps of a study written by hand: what `collect` reads."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Record
from whichbits.schema.workload import Limit, Slo, Workload
from whichbits.studies.steps.registry import summary_of


class Steps:
    """Writes the directories of finished steps under one folder and returns their records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def record(
        self,
        kind: str,
        labels: dict[str, str],
        summary: dict[str, Any] | None = None,
        items: dict[str, Any] | None = None,
        state: str = "done",
        error: str | None = None,
    ) -> Record:
        key = hashlib.sha256(f"{kind} {sorted(labels.items())}".encode()).hexdigest()
        found = summary_of(kind, summary) if state == "done" else None
        directory = self.folder / kind / key
        directory.mkdir(parents=True, exist_ok=True)
        record = Record(key, kind, Labels.model_validate(labels), state, directory, found, Provenance(), error)  # type: ignore[arg-type]
        if items is not None:
            parquet.write_table(pa.table(items), record.items)
        return record

    def evaluate(
        self,
        candidate: str,
        scores: Any,
        *,
        task: str = "recall",
        engine: str = "vllm",
        repeat: int = 0,
        chance: float = 0.0,
        kind: str = "generated",
        concurrency: int = 16,
        prompts: str = "prompt",
        clusters: list[str | None] | None = None,
        uninformative: str | None = None,
        **more: Any,
    ) -> Record:
        n = len(scores)
        items = {
            "item": [f"{task}-{i}" for i in range(n)],
            "prompt_hash": [f"{prompts} {i}" for i in range(n)],
            "target_hash": [f"target {i}" for i in range(n)],
            "cluster": clusters or [f"{task}-{i}" for i in range(n)],
            "score": np.asarray(scores, dtype=np.float64),
            "prediction": [""] * n,
            "target": [""] * n,
        }
        summary = {
            "task": task, "kind": kind, "metric": "acc", "n": n, "score": float(np.mean(scores)), "stderr": 0.0,
            "uninformative": uninformative, "chance": chance, "concurrency": concurrency,
            **more,
        }  # fmt: skip
        labels = {"candidate": candidate, "task": task, "engine": engine, "repeat": str(repeat)}
        return self.record("evaluate", labels, summary, items)

    def within(self, **limits: float) -> dict[str, Workload]:
        """The workload `chat` with limits in seconds, at the 95th percentile."""
        slo = Slo(**{name: Limit(seconds=seconds) for name, seconds in limits.items()})  # type: ignore[arg-type]
        return {"chat": Workload(name="chat", prompt_tokens=128, output_tokens=32, slo=slo)}

    def probe(self, candidate: str, status: str = "native", kernel: str = "Int8") -> Record:
        labels = {"candidate": candidate, "format": candidate, "engine": "vllm"}
        return self.record("probe", labels, {"status": status, "kernel": kernel, "reason": None})

    def serve(
        self,
        candidate: str,
        repeat: int,
        latency: dict[int, tuple[float | None, float | None]],
        *,
        workload: str = "chat",
        deployment: str = "here",
        valid: bool = True,
        invalid: tuple[tuple[str, int], ...] = (),
        session: str = "one",
        seed: int = 0,
        spread: float = 0.02,
    ) -> Record:
        """`latency`: seconds of (candidate, base) by concurrency; a closed loop, so throughput is concurrency / latency.

        None is not measured; `invalid` holds (role, concurrency) of loads that are not valid.
        """
        rng = np.random.default_rng([seed, repeat, len(candidate)])
        rows: dict[str, list[Any]] = {
            name: []
            for name in (
                "role", "load_level", "concurrency", "request", "start_s", "ttft_s", "itl_s", "tpot_s", "latency_s",
                "prompt_tokens", "output_tokens", "ok",
            )
        }  # fmt: skip
        load_levels: dict[str, list[dict[str, Any]]] = {"candidate": [], "base": []}
        for concurrency, pair in latency.items():
            load_level = "synchronous" if concurrency == 1 else f"concurrency {concurrency}"
            for role, mean in zip(("candidate", "base"), pair, strict=True):
                if mean is None:
                    continue
                for request in range(10 * concurrency):
                    seconds = mean * float(rng.normal(1, spread))
                    values = (
                        role, load_level, concurrency, request, request * seconds, seconds / 10, seconds / 40, seconds / 40,
                        seconds, 128, 32, True,
                    )  # fmt: skip
                    for name, value in zip(rows, values, strict=True):
                        rows[name].append(value)
                rate = concurrency / mean if mean else math.inf
                metrics = {"requests_per_second": rate, "output_tokens_per_second": 32 * rate}
                good = valid and (role, concurrency) not in invalid
                reasons = [] if good else ["client saturated"]
                load_levels[role].append(
                    {
                        "load_level": load_level,
                        "concurrency": concurrency,
                        "valid": good,
                        "reasons": reasons,
                        "metrics": metrics,
                    }
                )
        labels = {"candidate": candidate, "workload": workload, "deployment": deployment, "repeat": str(repeat)}
        summary = {"session": session, "load_levels": load_levels["candidate"], "base_load_levels": load_levels["base"]}
        return self.record("serve", labels, summary, rows)


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path)
