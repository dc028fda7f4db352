"""The study manifest, and stores of schema 1, whose names of fields, columns and folders were others."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from whichbits.core.errors import UserError
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.serve import LoadLevelSummary, ServeSummary
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.serving.metrics.registry import METRICS
from whichbits.studies.steps.serve import BEFORE_DESCRIBED
from whichbits.studies.store.manifest import FILE, SCHEMA, ManifestStep, StudyManifest, read
from whichbits.studies.store.store import Store
from whichbits.verdict.pairing import PairingError, read_columns

WORKLOAD = {"name": "chat", "prompt_tokens": 8, "output_tokens": 4}
LEVEL = {"concurrency": 4, "valid": True, "metrics": {"requests_per_second": 1.0, "output_tokens_per_second": 4.0}}


def a_manifest(step: Step) -> StudyManifest:
    entry = ManifestStep(key=step.key, kind=step.kind, labels=step.labels)
    return StudyManifest(
        schema_version=SCHEMA, study="s", specification="", command="", model="m", notes=(), base="bf16",
        base_bytes=1, formats={}, margin=0.01, seed=0, hardware="cpu", engines=(),
        workloads={"chat": Workload(**WORKLOAD, requests_per_stream=6)},
        deployments={}, prices="default", steps=(entry,), version="1",
    )  # fmt: skip


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path):
    written = a_manifest(Step("serve", 1, Inputs(), labels=Labels(candidate="a")))
    written.write(tmp_path)
    assert read(tmp_path) == written
    assert json.loads((tmp_path / FILE).read_text())["schema_version"] == SCHEMA


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path):
    a_manifest(Step("serve", 1, Inputs())).model_copy(update={"schema_version": SCHEMA + 1}).write(tmp_path)
    with pytest.raises(UserError, match=f"schema_version {SCHEMA + 1}; this version of whichbits reads up to {SCHEMA}"):
        read(tmp_path)


def test_a_store_of_schema_1_is_read_under_the_names_of_now(tmp_path: Path):
    step = Step("serve", 1, Inputs(), labels=Labels(candidate="a"))
    level = LoadLevelSummary(load_level="concurrency 4", **LEVEL)
    a_manifest(step).write(tmp_path)
    text = json.loads((tmp_path / FILE).read_text())
    text["cells"], text["workloads"]["chat"]["waves"] = text.pop("steps"), text["workloads"]["chat"].pop("requests_per_stream")
    del text["schema_version"]
    (tmp_path / FILE).write_text(json.dumps(text))
    result = tmp_path / "cells" / "serve" / step.key / "result.json"
    result.parent.mkdir(parents=True)
    level_then = {"rung": "concurrency 4", **LEVEL}
    summary = {"sitting": "one", "rungs": [level_then], "base_rungs": [level_then]}
    result.write_text(json.dumps({"kind": "serve", "labels": {}, "summary": summary, "provenance": {}}))

    manifest = read(tmp_path)
    assert (manifest.schema_version, manifest.workloads["chat"].requests_per_stream) == (1, 6)
    (record,) = manifest.records(Store(tmp_path))
    metrics = tuple(METRICS.get(key).described for key in BEFORE_DESCRIBED)
    assert record.found(ServeSummary) == ServeSummary(
        session="one", load_levels=(level,), base_load_levels=(level,), metrics=metrics
    )


def test_a_column_is_found_under_its_former_name(tmp_path: Path):
    path = tmp_path / "items.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"rung": ["rate 2"], "ok": [True]}), path)
    read_now = read_columns(path, ("load_level", "ok"), {"load_level": "rung"})
    assert read_now.to_pydict() == {"load_level": ["rate 2"], "ok": [True]}
    with pytest.raises(PairingError, match="no column load_level"):
        read_columns(path, ("load_level",))
