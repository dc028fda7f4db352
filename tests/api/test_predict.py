"""The verb `predict`: rows with numbers for machines and intervals that people read."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import whichbits
from whichbits.cli.app import app
from whichbits.core.errors import UserError
from whichbits.hardware.machine import describe
from whichbits.schema.step import Cell
from whichbits.studies.store.manifest import Ledger, entries
from whichbits.studies.store.store import Store

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_intervals_are_pairs_in_json_and_text_in_a_table() -> None:
    base, quick, refused = whichbits.predict(LLAMA, ["bf16", "w4a16-int", "w8a8-fp"], "A100", workload="256/128")
    low, high = json.loads(json.dumps(quick))["speedup_80"]
    assert low < quick["speedup"] < high
    assert quick["speedup"] == pytest.approx(base["latency_s"] / quick["latency_s"], rel=1e-3)
    assert str(quick["speedup_80"]) == f"{low:.3g} – {high:.3g}"
    assert base["speedup"] is None
    assert "no FP8 tensor cores" in refused["reason"]
    assert {row["provenance"] for row in (base, quick, refused)} == {"predicted"}
    assert list(base) == list(quick) == list(refused)


def test_a_table_has_a_column_a_format_also_where_one_is_refused() -> None:
    shown = CliRunner().invoke(app, ["predict", "--model", LLAMA, "--hardware", "A100", "--workload", "256/128"])
    assert shown.exit_code == 0
    assert "w8a8-fp" in shown.output
    assert "FP8 tensor cores" in " ".join(shown.output.split())


def test_a_ranking_shows_what_each_format_gains_on_its_device() -> None:
    rows = whichbits.predict(LLAMA, ["bf16", "w8a8-int"], workload="rag", all_hardware=True)
    gains = {(row["hardware"], row["count"], row["format"]): row["gain_80"] for row in rows if row["gain"] is not None}
    low, high = gains["A100-SXM-80GB", 1, "w8a8-int"]
    assert 1 < low < high
    dollars = [row["dollars_per_1000"] for row in rows if row["dollars_per_1000"] is not None]
    assert dollars == sorted(dollars)


def test_limits_bound_the_load_of_each_format() -> None:
    asked = {"model": LLAMA, "format": ["bf16", "w8a8-int"], "workload": "rag"}
    rows = whichbits.predict(**asked, hardware="L4", max_tpot=0.08, max_ttft=0.5)
    assert [(row["hardware"], row["count"]) for row in rows] == [("L4", 1), ("L4", 1)]
    for row in rows:
        assert row["tpot_s"] <= 0.0801
        assert row["ttft_s"] <= 0.501
        (there,) = whichbits.predict(
            LLAMA, [row["format"]], "L4", workload="rag", concurrency=str(row["concurrency"]), tensor_parallel=1
        )
        assert there["qps"] == pytest.approx(row["qps"], rel=1e-2)
        (beyond,) = whichbits.predict(LLAMA, [row["format"]], "L4", workload="rag", concurrency=str(1.1 * row["concurrency"]))
        assert beyond["tpot_s"] > 0.08
    everywhere = whichbits.predict(**asked, all_hardware=True, max_tpot=0.08, count=2)
    assert {row["count"] for row in everywhere} == {2}
    assert all(row["tpot_s"] is None or row["tpot_s"] <= 0.0801 for row in everywhere)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"concurrency": "2", "rate": 1.0}, "both given"),
        ({"concurrency": "many"}, "'many'"),
        ({"all_hardware": True}, "--all-hardware and --hardware are both given"),
        ({"max_tpot": 0.1, "rate": 1.0}, "--max-tpot and --rate are both given"),
        ({"max_ttft": 0.0}, "max-ttft: 0 is not a positive number"),
        ({"hardware": ""}, "--hardware: is missing"),
        ({"workload": ""}, "--workload: is missing"),
        ({"out": Path("out.csv")}, "answers to --points"),
        ({"points": Path("in.csv"), "out": Path("out.csv")}, "--points and --model, --hardware, --workload are both given"),
    ],
)
def test_arguments_that_say_nothing_beside_others_are_refused(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        whichbits.predict(**{"model": LLAMA, "hardware": "A100", "workload": "256/128", **arguments})


def test_points_are_answered_in_a_file(tmp_path: Path) -> None:
    header = "model,format,hardware,count,prompt_tokens,output_tokens,concurrency"
    (tmp_path / "in.csv").write_text(f"{header}\n{LLAMA},bf16,A100,1,256,128,1\n{LLAMA},w8a8-fp,A100,1,256,128,1\n")
    (row,) = whichbits.predict(points=tmp_path / "in.csv", out=tmp_path / "out.csv")
    assert (row["rows"], row["answered"]) == (2, 1)
    assert (tmp_path / "out.csv").read_text().startswith(header)


def rung(concurrency: int | None, latency: float, *, valid: bool = True) -> dict[str, object]:
    parts = {"latency_s": latency, "ttft_s": latency / 10, "tpot_s": latency / 150}
    means = {name: {"mean": value} for name, value in parts.items()}
    metrics = {**means, "requests_per_second": (concurrency or 1) / latency}
    return {"rung": f"concurrency {concurrency}", "concurrency": concurrency, "valid": valid, "reasons": [], "metrics": metrics}


def store_of(
    folder: Path, claimed: str, machine: str = "1 × NVIDIA L4", *, count: int = 1, engine: str | None = "0.12.0"
) -> Path:
    """A store with one finished measurement of a speed: three rungs, of which one is of a rate and one is not valid."""
    cell = Cell("serve", 1, {}, labels={"candidate": "w8a8-int", "workload": "mine", "deployment": "one"})
    Ledger(
        study="s", specification="", command="", model=LLAMA, notes=(), base="bf16", base_bytes=1,
        formats={"bf16": "bf16", "w8a8-int": "w8a8-int"}, margin=0.01, seed=0, hardware=machine,
        engines=({"name": "vLLM", "version": engine},) if engine else (),
        workloads={"mine": {"prompt_tokens": 256, "output_tokens": 128}},
        deployments={"one": {"hardware": claimed, "count": count}}, prices="default",
        cells=entries([cell]), version="0",
    ).write(folder)  # fmt: skip
    rungs = [rung(4, 9.0), rung(None, 1.0), rung(8, 1.0, valid=False)]
    store = Store(folder)
    store.finish(cell, store.partial(cell), {"rungs": rungs, "base_rungs": []}, {})
    return folder


def test_calibrating_by_a_study_moves_its_device_alone(tmp_path: Path) -> None:
    store_of(tmp_path, "L4")
    (row,) = whichbits.calibrate(tmp_path, tmp_path / "mine.json")
    moved = json.loads((tmp_path / "mine.json").read_text())
    assert moved["sources"]["given"] == 4  # the valid rung of 4 requests in flight
    asked = {"hardware": "L4", "workload": "256/128", "concurrency": "4", "engine": "vllm==0.12.0"}
    (before,), (after,) = (
        whichbits.predict(LLAMA, ["w8a8-int"], **asked, coefficients=c) for c in (None, Path(row["coefficients"]))
    )
    assert abs(after["latency_s"] - 9.0) < abs(before["latency_s"] - 9.0)
    assert (before["tier"], after["tier"]) == ("other-architecture", "interpolated")


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


def test_points_without_a_file_for_the_answers_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--out"):
        whichbits.predict(points=tmp_path / "absent.csv")
