"""`whichbits.calibrate`: coefficients moved by a study, where it was measured on what it claims."""

import json
from pathlib import Path

import pytest

import whichbits
from whichbits.core.errors import UserError
from whichbits.hardware.this_machine import describe
from whichbits.schema.deployment import Deployment, EngineUsed
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.serve import Distribution, LoadLevelSummary, Metrics, ServeSummary
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.studies.store.manifest import StudyManifest, entries
from whichbits.studies.store.store import Store

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def load_level(concurrency: int | None, latency: float, *, valid: bool = True) -> LoadLevelSummary:
    parts = {"latency_s": latency, "ttft_s": latency / 10, "tpot_s": latency / 150}
    means = {name: Distribution(n=40, mean=value, percentiles={}) for name, value in parts.items()}
    rate = (concurrency or 1) / latency
    metrics = Metrics(requests_per_second=rate, output_tokens_per_second=128 * rate, **means)
    return LoadLevelSummary(load_level=f"concurrency {concurrency}", concurrency=concurrency, valid=valid, metrics=metrics)


def store_of(
    folder: Path, claimed: str, machine: str = "1 × NVIDIA L4", *, count: int = 1, engine: str | None = "0.12.0"
) -> Path:
    """A store with one finished measurement of a speed: three load levels, of which one is of a rate and one is not valid."""
    step = Step("serve", 1, Inputs(), labels=Labels(candidate="w8a8-int", workload="mine", deployment="one"))
    StudyManifest(
        study="s", specification="", command="", model=LLAMA, notes=(), base="bf16", base_bytes=1,
        formats={"bf16": "bf16", "w8a8-int": "w8a8-int"}, margin=0.01, seed=0, hardware=machine,
        engines=(EngineUsed(name="vLLM", version=engine),) if engine else (),
        workloads={"mine": Workload(name="mine", prompt_tokens=256, output_tokens=128)},
        deployments={"one": Deployment(hardware=claimed, count=count)}, prices="default",
        steps=entries([step]), version="0",
    ).write(folder)  # fmt: skip
    load_levels = (load_level(4, 9.0), load_level(None, 1.0), load_level(8, 1.0, valid=False))
    store = Store(folder)
    store.finish(
        step, store.partial(step), ServeSummary(session="one", load_levels=load_levels, base_load_levels=()), Provenance()
    )
    return folder


def test_calibrating_by_a_study_moves_its_device_alone(tmp_path: Path) -> None:
    store_of(tmp_path, "L4")
    whichbits.calibrate(tmp_path, tmp_path / "mine.json")
    moved = json.loads((tmp_path / "mine.json").read_text())
    assert moved["sources"]["given"] == 4  # the valid load level of 4 requests in flight
    asked = {"hardware": "L4", "workload": "256/128", "concurrency": 4, "engine": "vllm==0.12.0", "format": ["w8a8-int"]}
    before, after = (
        whichbits.predict(LLAMA, **asked, coefficients=file)[0].prediction for file in (None, tmp_path / "mine.json")
    )
    assert abs(after.latency_s - 9.0) < abs(before.latency_s - 9.0)
    assert (before.tier, after.tier) == ("other-architecture", "interpolated")


@pytest.mark.parametrize(
    ("claimed", "machine", "count"),
    [
        ("h100", "2-core AMD EPYC", 1),
        ("h100", "1 × NVIDIA H100 PCIe", 1),
        ("L4", "1 × NVIDIA L40S", 1),
        ("A100", "1 × NVIDIA A100-SXM4-40GB", 1),
        ("L4", "1 × NVIDIA L4", 2),
        ("h100", "1 × NVIDIA H100 80GB HBM3 MIG 1g.10gb", 1),
        ("h100", "1 × gfx942", 1),
        ("cpu", "1 × NVIDIA L4", 1),
        ("this-machine", "1 × NVIDIA L4 + 1 × NVIDIA L40S", 1),
        ("this-machine", "64-core processor of another machine", 1),
        ("cpu", "64-core processor of another machine", 1),
    ],
)
def test_a_study_that_was_not_measured_on_what_it_claims_moves_nothing(
    claimed: str, machine: str, count: int, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"deployment\.hardware"):
        whichbits.calibrate(store_of(tmp_path, claimed, machine, count=count), tmp_path / "mine.json")
    assert not (tmp_path / "mine.json").exists()


@pytest.mark.parametrize(
    ("claimed", "machine", "device"),
    [
        ("L4", "2 × NVIDIA L4", "nvidia-l4"),
        ("this-machine", "1 × NVIDIA L4", "nvidia-l4"),
        ("NVIDIA L40S", "1 × NVIDIA L4 + 1 × NVIDIA L40S", "nvidia-l40s"),
        ("this-machine", describe().kind, "cpu"),
    ],
)
@pytest.mark.skipif(bool(describe().gpus), reason="needs a machine without a GPU")
def test_a_study_moves_the_device_that_measured_it(claimed: str, machine: str, device: str, tmp_path: Path) -> None:
    whichbits.calibrate(store_of(tmp_path, claimed, machine), tmp_path / "mine.json")
    moved = json.loads((tmp_path / "mine.json").read_text())
    assert {name.split(".")[1] for name in moved["values"] if name.startswith("device.")} == {device}
    assert any(entry[1] == device and entry[3] == "vllm" for entry in moved["support"])


def test_speeds_of_a_server_at_an_address_calibrate_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="measured at an address"):
        whichbits.calibrate(store_of(tmp_path, "L4", engine=None), tmp_path / "mine.json")


def test_where_calibrated_coefficients_go_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whichbits.prediction.training.calibrate.calibrate", lambda *_: pytest.fail("fitted"))
    with pytest.raises(UserError, match="out: "):
        whichbits.calibrate(store_of(tmp_path, "L4"), tmp_path / "nowhere" / "mine.json")
