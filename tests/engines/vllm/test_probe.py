from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from whichbits.engines.errors import EngineEnded
from whichbits.engines.vllm.command import EngineCommand
from whichbits.engines.vllm.probe import SATURATES, device_kind, judge, probe, with_saturation
from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.formats.catalogue import kernels_of
from whichbits.hardware.this_machine import Hardware, describe
from whichbits.models.configuration import read_configuration
from whichbits.schema.hardware import Gpu


def ask(command: EngineCommand, name: str, checkpoint: Path, folder: Path, **arguments: object):
    settings = serving_settings(describe(), read_configuration(checkpoint).kv_bytes_per_token, max_length=512)
    return probe(
        command,
        name,
        checkpoint,
        arguments={**settings.arguments, **arguments},
        environment=settings.environment,
        hardware=describe(),
        log=folder / "log.txt",
    )


def test_the_table_names_each_kernel_once_for_a_device() -> None:
    for device in ("cpu", "cuda", "rocm"):
        names = [kernel.kernel for kernel in kernels_of("vllm", device) if kernel.kernel is not None]
        assert len(names) == len(set(names)) > 4


def test_a_processor_that_cuts_sums_of_int8_is_named() -> None:
    assert with_saturation("CPUInt8ScaledMM", "INT8 products", exact=True) == "INT8 products"
    assert with_saturation("CPUInt8ScaledMM", "INT8 products", exact=False) == f"INT8 products; {SATURATES}"
    assert with_saturation("CPUWNA16, CPUInt8ScaledMM", None, exact=False) == SATURATES
    assert with_saturation("CutlassInt8ScaledMM", "INT8 products", exact=False) == "INT8 products"
    assert with_saturation(None, None, exact=False) is None


def test_judge() -> None:
    assert judge(["CPUInt8ScaledMM"], "w8a8-int", "cpu")[0] == "native"
    assert judge(["Dynamic4bit"], "w4a8-int", "cpu")[0] == "reference"
    assert judge(["CPUInt8ScaledMM", "ChannelWiseTorchFP8ScaledMM"], "mixed", "cpu")[0] == "reference"
    assert judge(["ChannelWiseTorchFP8ScaledMM"], "w8a8-fp", "cuda")[0] == "native"  # slow on processors alone
    status, kernel, reason = judge(["BrandNew"], "w8a8-fp", "cuda")
    assert (status, kernel) == ("native", "BrandNew")
    assert "nothing is known of BrandNew" in (reason or "")
    assert judge([], "bf16", "cpu")[:2] == ("native", None)


def test_device_kind() -> None:
    def hardware(capability: str) -> Hardware:
        return Hardware("x", "x", "x86_64", (), 2, 1, (Gpu("x", 1, capability, "1"),))

    assert device_kind(hardware("9.0")) == "cuda"
    assert device_kind(hardware("gfx942")) == "rocm"
    assert device_kind(Hardware("x", "x", "x86_64", (), 2, 1)) == "cpu"


@pytest.mark.server
@pytest.mark.nightly
def test_w8a8_int_on_a_cpu_is_native(vllm: EngineCommand, quantized: Callable[[str], Path], tmp_path: Path) -> None:
    if describe().gpus:
        pytest.skip("tests what vLLM's CPU backend does")
    found = ask(vllm, "w8a8-int", quantized("w8a8-int"), tmp_path)
    assert (found.status, found.kernel) == ("native", "CPUInt8ScaledMM")


@pytest.mark.server
@pytest.mark.nightly
def test_w4a8_fp_on_a_cpu_is_refused(vllm: EngineCommand, quantized: Callable[[str], Path], tmp_path: Path) -> None:
    if describe().gpus:
        pytest.skip("tests what vLLM's CPU backend does")
    found = ask(vllm, "w4a8-fp", quantized("w4a8-fp"), tmp_path)
    assert found.status == "refused"
    assert found.reason == "NotImplementedError: No compressed-tensors compatible scheme"


@pytest.mark.server
def test_wrong_arguments_are_not_a_refusal(vllm: EngineCommand, tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineEnded, match="unrecognized arguments: --no-such-option"):
        ask(vllm, "bf16", tiny_llama, tmp_path, **{"no-such-option": "x"})
