"""What a study finds on this machine, and what to do where something is missing."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from whichbits.core.errors import UserError
from whichbits.core.home import REMEDY, cache_directory
from whichbits.engines.vllm.command import find_vllm
from whichbits.hardware.energy import read_energy, why_no_energy
from whichbits.hardware.this_machine import Hardware, describe

Status = Literal["ok", "warn", "fail"]

_LANDLOCK_CREATE_RULESET = 444  # the same number on every architecture
_LANDLOCK_VERSION = 1


@dataclass(frozen=True)
class Check:
    """One line of the examination; `remedy` is empty where nothing needs one."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def doctor(folder: Path | None = None, *, command: str | None = None) -> list[Check]:
    """Examine this machine. folder: where studies are kept. command: the engine's, see `find_vllm`."""
    hardware = describe()
    return [
        _python(),
        _torch(hardware),
        _engine(command),
        _processor(hardware),
        _accelerator(hardware),
        _memory(hardware),
        _disk(folder or Path.cwd()),
        _energy(),
        _cache(),
        _namespaces(),
        _landlock(),
        _hub(),
    ]


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _torch(hardware: Hardware) -> Check:
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Check("torch", "fail", "not installed", "pip install 'whichbits[study]' (reports and predictions need none)")
    if hardware.gpus and version.endswith("+cpu"):
        return Check("torch", "warn", f"{version}, though there is a GPU", "install PyTorch's CUDA or ROCm build")
    return Check("torch", "ok", version)


def _engine(command: str | None) -> Check:
    try:
        found = find_vllm(command)
    except UserError as error:
        return Check("vllm", "fail", error.message, error.remedy)
    return Check("vllm", "ok", f"{found.description}: {' '.join(found.argv)}")


def _processor(hardware: Hardware) -> Check:
    sets = ", ".join(hardware.instruction_sets) or "none that matter"
    detail = f"{hardware.cpu}, {hardware.cores} usable, {sets}"
    if hardware.cores < 2:
        return Check("processor", "warn", detail, "give two processors: server and load client disturb each other on one")
    if not hardware.gpus and not {"avx512f", "amx_tile", "asimd", "avx2"} & set(hardware.instruction_sets):
        return Check("processor", "warn", detail, "vLLM's CPU backend needs AVX2, AVX512 or Arm's NEON")
    return Check("processor", "ok", detail)


def _accelerator(hardware: Hardware) -> Check:
    if not hardware.gpus and shutil.which("nvidia-smi"):
        return Check("gpu", "warn", "nvidia-smi is there and shows none", "see what nvidia-smi says; without it the CPU serves")
    if not hardware.gpus:
        return Check("gpu", "ok", "none: the engine serves on the processor")
    named = [f"{gpu.name} ({gpu.memory_mib / 1024:.0f} GiB, {gpu.capability}, driver {gpu.driver})" for gpu in hardware.gpus]
    return Check("gpu", "ok", "; ".join(named))


def _memory(hardware: Hardware) -> Check:
    detail = f"{hardware.memory_mib / 1024:.1f} GiB"
    if hardware.memory_mib < 12 * 1024:
        return Check("memory", "warn", detail, "12 GiB serve the demonstration; with less its servers run one after another")
    return Check("memory", "ok", detail)


def _disk(folder: Path) -> Check:
    folder = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(folder).free / 2**30
    detail = f"{free:.1f} GiB free at {folder}"
    return (
        Check("disk", "ok", detail) if free >= 10 else Check("disk", "warn", detail, "free 10 GiB, or choose another --store")
    )


def _energy() -> Check:
    """Whether joules can be measured."""
    counters = read_energy()
    if counters:
        return Check("energy", "ok", ", ".join(counter.name for counter in counters))
    return Check("energy", "ok", f"not measured: {why_no_energy()}")


def _namespaces() -> Check:
    """Whether code can be run without network and file system: by bubblewrap or unprivileged user namespaces."""
    tool = shutil.which("bwrap") or shutil.which("unshare")
    if tool is None:
        return Check("sandbox: namespaces", "warn", "neither bwrap nor unshare", "install bubblewrap")
    arguments = ["--ro-bind", "/", "/", "--unshare-all", "true"] if tool.endswith("bwrap") else ["--user", "--net", "true"]
    answer = subprocess.run(
        [tool, *arguments], capture_output=True, timeout=20, check=False, encoding="utf-8", errors="replace"
    )
    if answer.returncode == 0:
        return Check("sandbox: namespaces", "ok", tool)
    said = " ".join(answer.stderr.split())[:120]
    return Check(
        "sandbox: namespaces", "warn", f"{tool}: {said}", "allow unprivileged user namespaces (code tasks use Landlock)"
    )


def _landlock() -> Check:
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION))
    if version > 0:
        return Check("sandbox: Landlock", "ok", f"version {version}")
    said = os.strerror(ctypes.get_errno())
    return Check(
        "sandbox: Landlock", "warn", f"not available ({said})", "needed only where namespaces are not: a kernel from 5.13 on"
    )


def _cache() -> Check:
    """Whether the folder of converted models and file hashes can be written."""
    try:
        folder = cache_directory()
    except UserError as error:
        return Check("cache", "fail", error.message, error.remedy)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile("wb", dir=folder):
            pass
    except OSError as error:
        return Check("cache", "fail", f"{folder}: {error.strerror}", REMEDY)
    return Check("cache", "ok", str(folder))


def _hub() -> Check:
    token = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Check("hub", "ok", "offline by HF_HUB_OFFLINE; local and embedded models need no hub")
    return Check(
        "hub", "ok", f"token from {token}" if token else "no token; gated models need HF_TOKEN, the demonstration none"
    )
