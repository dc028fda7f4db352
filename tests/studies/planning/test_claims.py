from __future__ import annotations

from pathlib import Path

import pytest

import whichbits
from whichbits.core.errors import UserError
from whichbits.hardware.this_machine import Hardware
from whichbits.schema.hardware import Gpu
from whichbits.studies.planning.claims import caveats, devices_used
from whichbits.studies.specification.engine import Engine
from whichbits.studies.specification.schema import Deployment


def machine(*gpus: str) -> Hardware:
    return Hardware("a machine", "cpu", "x86_64", (), 2, 8192, tuple(Gpu(name, 81920, "9.0", "1") for name in gpus))


H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
TWO = Engine(arguments={"tensor-parallel-size": 2})


@pytest.mark.parametrize(
    ("deployment", "engine", "gpus", "problem"),
    [
        ({"hardware": "h100"}, Engine(), [], "hardware: h100, but this machine has no GPU"),
        ({"hardware": "h100", "count": 2}, TWO, [], "hardware: h100"),
        ({"hardware": "h100"}, Engine(), [A100], "driver shows NVIDIA A100"),
        ({"hardware": "h100", "count": 2}, TWO, [H100], "count: 2, but this machine has 1"),
        ({"hardware": "h100", "count": 2}, Engine(), [H100, H100], "count: 2, but the engine's arguments ask for 1"),
        ({"hardware": "h100", "count": 1}, TWO, [H100, H100], "count: 1, but the engine's arguments ask for 2"),
        ({"count": 2}, Engine(), [], "count: 2, but this machine has 1"),
        (
            {"hardware": "h100", "count": 8},
            Engine(arguments={"tensor-parallel-size": 8, "nnodes": 2}),
            [H100],
            "count: 8, but 2 machines like this one have 2",
        ),
        ({"hardware": "cpu"}, Engine(), [H100], "hardware: cpu"),
        ({"hardware": "h100", "count": 2}, TWO, [H100, A100], "driver shows NVIDIA A100"),
        ({"hardware": "h100"}, Engine(), ["NVIDIA H100 PCIe MIG 1g.10gb"], "MIG"),
    ],
)
def test_what_contradicts_the_machine_is_refused(deployment, engine: Engine, gpus: list[str], problem: str):
    with pytest.raises(UserError, match=problem):
        caveats(Deployment(**deployment), engine, machine(*gpus))


@pytest.mark.parametrize(
    ("deployment", "engine", "gpus"),
    [
        ({}, Engine(), []),
        ({"hardware": "cpu"}, Engine(), []),
        ({}, Engine(), [H100]),
        ({"hardware": "h100"}, Engine(), [H100]),
        ({"hardware": "H100", "count": 2}, TWO, [H100, H100]),
        ({"hardware": "H100", "count": 4}, Engine(arguments={"tensor-parallel-size": 4, "nnodes": 2}), [H100, H100]),
        (
            {"hardware": "h100", "count": 4},
            Engine(arguments={"tensor_parallel_size": 2, "--data-parallel-size": 2}),
            [H100] * 8,
        ),
    ],
)
def test_what_agrees_is_said_without_a_word(deployment, engine: Engine, gpus: list[str]):
    assert caveats(Deployment(**deployment), engine, machine(*gpus)) == ()


def test_what_cannot_be_known_is_said():
    far = Engine(kind="url", urls={"bf16": "http://gpu.example:8000"})
    near = Engine(kind="url", urls={"bf16": "http://127.0.0.1:8000"})
    (claimed,) = caveats(Deployment(hardware="h100", count=2), near, machine())
    assert "2 × h100" in claimed
    (unknown,) = caveats(Deployment(), far, machine())
    assert "gpu.example:8000" in unknown
    assert caveats(Deployment(), near, machine()) == ()
    own = Engine(command=("ssh", "far", "vllm", "serve", "{model}", "--port", "{port}"))
    (elsewhere,) = caveats(Deployment(hardware="h100"), own, machine())
    assert "h100" in elsewhere


@pytest.mark.parametrize(
    ("words", "devices"),
    [
        (["-tp", "4"], 4),
        (["--tensor-parallel-size=2", "--pipeline-parallel-size", "3"], 6),
        (["--tensor_parallel_size", "2"], 2),
    ],
)
def test_devices_of_an_own_command_are_counted(words: list[str], devices: int):
    assert devices_used(Engine(command=("vllm", "serve", "{model}", "--port", "{port}", *words))) == devices
    with pytest.raises(UserError, match="tensor-parallel-size"):
        devices_used(Engine(arguments={"tensor-parallel-size": "two"}))


def test_a_study_on_hardware_that_is_not_there_does_not_begin(tiny_llama: Path, tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text(
        f"version: 1\nname: s\nmodel: {tiny_llama}\ncandidates: [w8a8-int]\ntasks: [{{name: recall, limit: 2}}]\n"
        "deployment: {hardware: h100, count: 2}\n"
    )
    from whichbits.hardware.this_machine import describe

    if describe().gpus:
        pytest.skip("this machine has GPUs")
    with pytest.raises(UserError, match="line 6: deployment: hardware: h100"):
        whichbits.study(file, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()
    pytest.importorskip("vllm")
    preview = whichbits.plan(file, store=tmp_path / "store")
    assert "would be refused" in preview.text
