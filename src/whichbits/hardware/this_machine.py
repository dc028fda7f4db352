"""What the engine runs on: the part of a machine that can change a result or a speed, for keys and for people."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.schema.hardware import Gpu, HardwareKey

# Instruction sets that change which kernels run, by their names in /proc/cpuinfo (x86, then ARM).
_INSTRUCTION_SETS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip

ANSWER_S = 30.0
"""Seconds that a driver's program gets to answer."""


@dataclass(frozen=True)
class Hardware:
    """One machine. `kind` names it shortly; `cores` counts the processors this process may use; memory in MiB."""

    kind: str
    cpu: str
    architecture: str
    instruction_sets: tuple[str, ...]
    cores: int
    memory_mib: int
    gpus: tuple[Gpu, ...] = ()

    def key(self) -> HardwareKey:
        """What enters a step's key."""
        return HardwareKey(
            kind=self.kind,
            cpu=self.cpu,
            architecture=self.architecture,
            instruction_sets=self.instruction_sets,
            cores=self.cores,
            gpus=self.gpus,
        )


def describe() -> Hardware:
    """The machine that this process runs on, without importing torch."""
    cpu, instruction_sets = _cpu(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    gpus = tuple(nvidia_gpus() or amd_gpus())
    cores = len(os.sched_getaffinity(0))
    counts = Counter(gpu.name for gpu in gpus)
    kind = " + ".join(f"{count} × {name}" for name, count in counts.items()) or f"{cores}-core {cpu}"
    return Hardware(kind, cpu, platform.machine(), instruction_sets, cores, _memory_mib(), gpus)


def processors(positions: Sequence[int]) -> frozenset[int]:
    """Ids of those processors, of the ones this process may use, at the given positions."""
    usable = sorted(os.sched_getaffinity(0))
    return frozenset(usable[position] for position in positions)


def _cpu(cpuinfo: str) -> tuple[str, tuple[str, ...]]:
    """Model name and relevant instruction sets from the text of /proc/cpuinfo."""
    first: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            first.setdefault(name.strip(), value.strip())
    flags = set((first.get("flags") or first.get("Features") or "").split())
    model = first.get("model name") or first.get("Processor") or first.get("CPU part") or platform.machine()
    return " ".join(model.split()), tuple(name for name in _INSTRUCTION_SETS if name in flags)


def _memory_mib() -> int:
    """Memory of the machine, or of this control group where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text(encoding="utf-8").strip()) != "max":
        total = min(total, int(text))
    return total // 2**20


def nvidia_gpus() -> list[Gpu]:
    """NVIDIA GPUs by nvidia-smi; none where it is missing or fails."""
    rows = _query(["nvidia-smi", "--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader,nounits"])
    return [Gpu(name, int(float(memory)), capability, driver) for name, memory, capability, driver in rows]


def amd_gpus() -> list[Gpu]:
    """AMD GPUs by the kernel's own tables, which need no ROCm tools."""
    found = []
    for node in sorted(Path("/sys/class/kfd/kfd/topology/nodes").glob("*")):
        fields = dict(
            line.split(maxsplit=1) for line in (node / "properties").read_text(encoding="utf-8").splitlines() if " " in line
        )
        target = int(fields.get("gfx_target_version", "0"))
        if target:
            capability = f"gfx{target // 10000}{target // 100 % 100:x}{target % 100:x}"
            banks = (node / "mem_banks").glob("*/properties")
            sizes = [
                int(line.split()[1])
                for bank in banks
                for line in bank.read_text(encoding="utf-8").splitlines()
                if "size_in_bytes" in line
            ]
            name = (node / "name").read_text(encoding="utf-8").strip() or capability
            found.append(Gpu(name, sum(sizes) // 2**20, capability, platform.release()))
    return found


def _query(command: list[str]) -> list[list[str]]:
    """Rows of comma-separated output; none where the program is missing or fails."""
    if shutil.which(command[0]) is None:
        return []
    try:
        answer = subprocess.run(command, capture_output=True, timeout=ANSWER_S, check=False, encoding="utf-8", errors="replace")
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{command[0]} did not answer within {ANSWER_S:g} s, so the GPUs are not known",
            remedy="see whether the driver hangs (dmesg), and run again",
        ) from error
    if answer.returncode != 0:
        return []
    return [[field.strip() for field in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]
