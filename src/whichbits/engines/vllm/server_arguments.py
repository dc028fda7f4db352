"""Arguments and environment of a vLLM server unless the study says otherwise: a pure function of hardware and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from whichbits.hardware.this_machine import Hardware
from whichbits.schema.engine import Arguments

MODEL_NAME = "whichbits"

PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
"""vLLM's arguments whose product is the number of devices that it uses."""

NODES = "nnodes"
"""vLLM's argument for the machines that these devices are on, the same number on each."""


@dataclass(frozen=True)
class Settings:
    """Engine arguments and environment (both enter the step's key), and who runs where.

    server_cpus and client_cpus are positions among the processors that this process may use; both empty where a GPU serves.
    """

    arguments: Arguments
    environment: Mapping[str, str]
    server_cpus: tuple[int, ...]
    client_cpus: tuple[int, ...]


def option(name: str) -> str:
    """An argument's name as vLLM has it: `tensor_parallel_size` and `--tensor-parallel-size` are `tensor-parallel-size`."""
    return name.removeprefix("--").replace("_", "-")


def on_one_device(arguments: Arguments) -> Arguments:
    """The arguments without those that divide a model between devices and machines."""
    return {name: value for name, value in arguments.items() if option(name) not in (*PARALLEL, NODES)}


def on_node(arguments: Arguments, rank: int, address: str, port: int) -> Arguments:
    """The arguments of the server on a machine of several; those but the first, which answers, have no address of their own.

    address, port: where the first machine waits for the others.
    """
    meeting: dict[str, JsonValue] = {"node-rank": rank, "master-addr": address, "master-port": port}
    return {**arguments, **meeting, **({"headless": True} if rank else {})}


def serving_settings(
    hardware: Hardware,
    kv_bytes_per_token: int,
    *,
    max_length: int,
    max_concurrency: int = 16,
    local: bool = True,
) -> Settings:
    """Settings that serve a model for comparison with others.

    kv_bytes_per_token: bytes that the keys and values of one token take in 16 bit. max_length: tokens of prompt and output
    together. max_concurrency: requests at once that the key-value cache must hold. local: the checkpoint is a folder, so the
    engine need not, and may not, ask a hub.

    Everywhere: no prefix cache (it would measure the prompts' likeness) and sampling defaults of the engine instead of the
    model's (a repetition penalty in a generation_config.json changes greedy text). On a CPU: one processor is left for the load
    client where there are two, INT4 weights are computed as W4A16, the key-value cache is sized, nothing is compiled.
    """
    arguments: dict[str, JsonValue] = {
        "served-model-name": MODEL_NAME,
        "max-model-len": max_length,
        "enable-prefix-caching": False,
        "generation-config": "vllm",
    }
    environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if local:
        environment["HF_HUB_OFFLINE"] = "1"
    if hardware.gpus:
        return Settings(arguments, environment, (), ())
    threads = max(1, hardware.cores - 1)
    gibibytes = max(1, -(-kv_bytes_per_token * max_length * max_concurrency // 2**30))
    arguments |= {"enforce-eager": True, "max-num-seqs": max_concurrency}
    environment |= {
        "VLLM_CPU_INT4_W4A8": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(gibibytes),
        # Threads are bound by the affinity of the whole process: the engine's own binding would keep yet another core back.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(threads),
        # The worker shares the engine core's process: one import of torch and vllm fewer, 0.7 GB less memory.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Else the first request with log-probabilities calls a C++ compiler.
        "TORCH_COMPILE_DISABLE": "1",
    }
    return Settings(arguments, environment, tuple(range(threads)), (hardware.cores - 1,))
