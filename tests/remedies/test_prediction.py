"""Remedies of the commands predict and calibrate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from whichbits.api.calibrate import calibrate
from whichbits.cli.app import app
from whichbits.cli.predict import predict
from whichbits.prediction.model.coefficients import shipped
from whichbits.schema.deployment import Deployment, EngineUsed
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.serve import Distribution, LoadLevelSummary, Metrics, ServeSummary
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.studies.store.manifest import StudyManifest, entries
from whichbits.studies.store.store import Store

ASKED = {"model": "llama-3.1-8b", "format": ["bf16"], "hardware": "A100", "workload": "256/128"}
POINT = "model,format,hardware,count,prompt_tokens,output_tokens,concurrency\nllama-3.1-8b,bf16,A100,1,256,128,1\n"


@pytest.fixture(autouse=True)
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coefficients are not fitted here, which takes seconds: the rows of a store alone are read."""

    def read(rows: Any) -> Any:
        from whichbits.prediction.query import read_rows
        from whichbits.prediction.training.measurements import measurements

        assert measurements(read_rows(rows) if isinstance(rows, Path) else rows, "given")
        return shipped()

    monkeypatch.setattr("whichbits.prediction.training.calibrate.calibrate", read)


def store(
    folder: Path,
    hardware: str = "L4",
    count: int = 1,
    *,
    version: str | None = "0.12.0",
    valid: bool = True,
    machine: str = "1 × NVIDIA L4",
) -> Path:
    """A store with a speed that was measured on a machine."""
    folder.mkdir(exist_ok=True)
    step = Step("serve", 1, Inputs(), labels=Labels(candidate="bf16", workload="mine", deployment="one"))
    StudyManifest(
        study="s", specification="", command="", model="llama-3.1-8b", notes=(), base="bf16", base_bytes=1,
        formats={"bf16": "bf16"}, margin=0.01, seed=0, hardware=machine,
        engines=(EngineUsed(name="vLLM", version=version),) if version else (),
        workloads={"mine": Workload(name="mine", prompt_tokens=256, output_tokens=128)},
        deployments={"one": Deployment(hardware=hardware, count=count)}, prices="default", steps=entries([step]), version="0",
    ).write(folder)  # fmt: skip
    one = Distribution(n=40, mean=1.0, percentiles={})
    metrics = Metrics(requests_per_second=4.0, output_tokens_per_second=512.0, latency_s=one, ttft_s=one, tpot_s=one)
    load_level = LoadLevelSummary(load_level="concurrency 4", concurrency=4, valid=valid, metrics=metrics)
    place = Store(folder)
    place.finish(
        step, place.partial(step), ServeSummary(sitting="one", load_levels=(load_level,), base_load_levels=()), Provenance()
    )
    return folder


def test_points_and_their_answers(follow: Any, tmp_path: Path):
    points, out = tmp_path / "in.csv", tmp_path / "out.csv"
    points.write_text(POINT)
    follow("out: is missing", mistake=lambda: predict(points=points), remedy=lambda: predict(points=points, out=out))

    def as_json() -> None:
        arguments = [f"--{name}={value[0] if name == 'format' else value}" for name, value in ASKED.items()]
        assert CliRunner().invoke(app, ["predict", *arguments, "--json"]).exit_code == 0

    follow("out: is for answers to --points", mistake=lambda: predict(**ASKED, out=out), remedy=as_json)


def test_what_is_missing(follow: Any):
    usage = CliRunner().invoke(app, ["predict", "--help"]).output
    for name in ("model", "workload", "hardware"):
        error = follow(
            "{missing}: is missing", mistake=lambda name=name: predict(**{**ASKED, name: ""}), remedy=lambda: predict(**ASKED)
        )
        assert error.message.partition(":")[0] in usage


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"all_hardware": True}, [{**ASKED, "hardware": "", "all_hardware": True}, ASKED]),
        ({"max_tpot": 0.1, "rate": 0.1}, [{**ASKED, "max_tpot": 0.1}, {**ASKED, "rate": 0.1}]),
    ],
)
def test_options_that_say_nothing_beside_others(follow: Any, given: dict[str, Any], told: list[dict[str, Any]]):
    for arguments in told:
        follow(
            "{option} and {given} are both given",
            mistake=lambda: predict(**ASKED, **given),
            remedy=lambda arguments=arguments: predict(**arguments),
        )


def test_points_beside_a_question(follow: Any, tmp_path: Path):
    points = tmp_path / "in.csv"
    points.write_text(POINT)
    for told in (lambda: predict(**ASKED), lambda: predict(points=points, out=tmp_path / "out.csv")):
        follow("{option} and {given} are both given", mistake=lambda: predict(**ASKED, points=points), remedy=told)


def test_limits_that_are_none(follow: Any):
    for name in ("max_ttft", "max_tpot", "max_latency"):
        follow(
            "is not a positive number",
            mistake=lambda name=name: predict(**ASKED, **{name: 0.0}),
            remedy=lambda name=name: predict(**ASKED, **{name: 2.0}),
        )


def _measured(folder: Path) -> Path:
    return store(folder)


def _as_a_table(folder: Path) -> Path:
    path = folder / "mine.csv"
    header, row, _ = POINT.split("\n")
    path.write_text(f"{header},engine,latency_s\n{row},vllm==0.12.0,2.5\n")
    return path


@pytest.mark.parametrize(
    ("message", "mistaken", "told"),
    [
        ("holds no valid measurement of a speed", {"valid": False}, _measured),
        ("store: its speeds were measured at an address", {"version": None}, _as_a_table),
        ("deployment.hardware: claims {count} × {claimed}", {"hardware": "H100"}, _measured),
        ("deployment.hardware: claims {count} × {claimed}", {"count": 2}, _measured),
    ],
)
def test_a_store_that_does_not_calibrate(
    follow: Any, tmp_path: Path, message: str, mistaken: dict[str, Any], told: Callable[[Path], Path]
):
    again = tmp_path / "again"
    again.mkdir()
    follow(
        message,
        mistake=lambda: calibrate(store(tmp_path / "first", **mistaken), tmp_path / "mine.json"),
        remedy=lambda: calibrate(told(again), tmp_path / "mine.json"),
    )


def test_a_store_of_another_processor(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def on(processor: str) -> None:
        monkeypatch.setattr("whichbits.hardware.this_machine.describe", lambda: SimpleNamespace(kind=processor, gpus=()))
        monkeypatch.setattr("whichbits.prediction.training.calibrate.calibrate", lambda _: shipped())
        calibrate(store(tmp_path / processor, "cpu", machine="64-core processor"), tmp_path / "mine.json")

    follow("which is not the processor here", mistake=lambda: on("2-core processor"), remedy=lambda: on("64-core processor"))
