from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whichbits.hardware.this_machine import _cpu, describe, nvidia_gpus, processors

XEON = """\
processor\t: 0
model name\t: Intel(R)  Xeon(R)
flags\t\t: fpu avx2 avx512f avx512_vnni amx_tile amx_int8

processor\t: 1
flags\t\t: fpu
"""
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2\nFeatures\t: fp asimd asimddp i8mm bf16 sve\nCPU part\t: 0xd4f\n"


def test_cpuinfo_of_two_makers() -> None:
    assert _cpu(XEON) == ("Intel(R) Xeon(R)", ("avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_int8"))
    assert _cpu(GRAVITON) == ("0xd4f", ("asimd", "asimddp", "i8mm", "bf16", "sve"))


def test_describe_agrees_with_the_system() -> None:
    hardware = describe()
    plain = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # nproc heeds it
    assert hardware.cores == int(subprocess.run(["nproc"], capture_output=True, text=True, check=True, env=plain).stdout)
    total_kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert 0 < hardware.memory_mib <= total_kib / 1024 + 1
    assert "memory_mib" not in hardware.key().model_dump()


def test_processors_are_taken_from_the_usable_ones() -> None:
    usable = sorted(os.sched_getaffinity(0))
    assert processors([0, len(usable) - 1]) == {usable[0], usable[-1]}


def test_nvidia_smi_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 9.0, 580.65.06'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (gpu,) = nvidia_gpus()
    assert (gpu.name, gpu.memory_mib, gpu.capability, gpu.driver) == ("NVIDIA H100 80GB HBM3", 81_559, "9.0", "580.65.06")
    assert describe().kind == "1 × NVIDIA H100 80GB HBM3"
    tool.write_text("#!/bin/sh\necho 'no driver' >&2; exit 9\n")
    assert nvidia_gpus() == []


def test_describing_needs_no_torch() -> None:
    script = "import sys; from whichbits.hardware.this_machine import describe; describe(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
