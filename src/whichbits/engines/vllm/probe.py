"""Ask an engine, on a tiny checkpoint, whether it runs a format, and through which kernel."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path

from whichbits.engines.errors import EngineEnded, EngineError
from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.vllm.command import EngineCommand
from whichbits.engines.vllm.log import exception, kernels, tail
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import on_one_device
from whichbits.formats.catalogue import kernels_of
from whichbits.formats.kernels import Device
from whichbits.hardware.this_machine import Hardware
from whichbits.schema.engine import Arguments
from whichbits.schema.probe import ProbeSummary, Status

INT8_ON_CPU = ("CPUInt8ScaledMM", "ZentorchInt8ScaledMM")
"""Kernels of processors whose products of integers are those of the processor's instructions."""

SATURATES = (
    "this processor has no VNNI: it holds the sum of each two products in 16 bit, so large ones are cut, and scores of INT8 "
    "served here may be lower than those of other devices"
)

# An engine that ends for one of these says nothing about the format.
_NOT_A_REFUSAL = ("OSError", "MemoryError", "ImportError", "ModuleNotFoundError", "unrecognized arguments")
_NO_MEMORY = ("Available memory", "Free memory on device", "OutOfMemory")


def probe(
    command: EngineCommand,
    format_name: str,
    checkpoint: Path,
    *,
    arguments: Arguments,
    environment: Mapping[str, str],
    hardware: Hardware,
    log: Path,
    cpus: Collection[int] | None = None,
    max_length: int = 64,
    start_timeout_s: float = 300.0,
) -> ProbeSummary:
    """Start the engine on a tiny checkpoint of the format, ask for one completion, and read its log.

    arguments, environment and cpus are the study's, of which the length is cut to `max_length` tokens, and one device is used:
    the tiny model could not be divided between many, and each chooses its kernel by itself. Refused means that the
    engine ended, or refused the request, over the format; an engine that fails for another reason (no memory, wrong
    arguments) raises EngineError.
    """
    began = time.monotonic()
    arguments = {**on_one_device(arguments), "max-model-len": max_length}
    try:
        with Server(
            command,
            checkpoint,
            arguments=arguments,
            environment=environment,
            log=log,
            cpus=cpus,
            start_timeout_s=start_timeout_s,
        ) as server:
            refusal = _first_completion(server, max_length)
    except EngineEnded as ended:
        if ended.status > 128 or ended.cause.startswith(_NOT_A_REFUSAL):
            raise
        refusal = ended.cause
    seconds = time.monotonic() - began
    if refusal is not None:
        return ProbeSummary(status="refused", reason=_short(refusal), seconds=seconds)
    status, kernel, reason = judge(
        kernels(log.read_text(errors="replace", encoding="utf-8")), format_name, device_kind(hardware)
    )
    return ProbeSummary(status=status, kernel=kernel, reason=with_saturation(kernel, reason, sums_exactly()), seconds=seconds)


def sums_exactly() -> bool:
    """Whether this machine's processor sums products of 8-bit integers in 32 bit (VNNI)."""
    import torch

    return bool(torch.cpu._is_vnni_supported())


def with_saturation(kernel: str | None, reason: str | None, exact: bool) -> str | None:
    """The reason, and what a processor without VNNI does to the sums of an INT8 kernel."""
    if exact or not any(name in (kernel or "") for name in INT8_ON_CPU):
        return reason
    return "; ".join(filter(None, (reason, SATURATES)))


def _first_completion(server: Server, max_length: int) -> str | None:
    """Why the engine could not complete a prompt, by its log where that says so, or None."""
    with Endpoint(server.url, server.model, max_length=max_length, concurrency=1) as endpoint:
        try:
            endpoint.generate([[1, 2, 3]], max_tokens=2)
        except EngineError as error:
            server.check()
            cause = exception(tail(server.log)) or str(error)
            if cause.startswith(_NOT_A_REFUSAL) or any(words in cause for words in _NO_MEMORY):
                raise
            return cause
    return None


def _short(reason: str) -> str:
    """The reason without the dump of the format's fields that vLLM adds."""
    return reason.partition(" was found for layer_name=")[0].rstrip(" .,:")[:300]


def device_kind(hardware: Hardware) -> Device:
    """`cpu`, `cuda` or `rocm`."""
    if not hardware.gpus:
        return "cpu"
    return "rocm" if hardware.gpus[0].capability.startswith("gfx") else "cuda"


def judge(names: list[str], format_name: str, device: Device) -> tuple[Status, str | None, str | None]:
    """Status, kernels and reason from the kernels that the log names; a reference path among them decides."""
    if not names:
        return "native", None, f"the engine's log names no kernel for {format_name}; 16-bit layers need none"
    table = {kernel.kernel: kernel for kernel in kernels_of("vllm", device)}
    known = [table[name] for name in names if name in table]
    slow = next((kernel for kernel in known if kernel.status == "reference"), None)
    if slow is not None:
        return "reference", ", ".join(names), slow.reason
    unknown = [name for name in names if name not in table]
    if unknown:
        return "native", ", ".join(names), f"nothing is known of {', '.join(unknown)}: its speed is taken as measured"
    return "native", ", ".join(names), "; ".join(dict.fromkeys(kernel.reason for kernel in known))
