from __future__ import annotations

from dataclasses import replace

from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.hardware.this_machine import Hardware
from whichbits.schema.hardware import Gpu

TWO_CORES = Hardware("2-core X", "X", "x86_64", ("avx512f",), 2, 16_384)
SMOLLM = 23_040
"""Bytes of a token's keys and values in SmolLM2-135M: 30 layers, 3 heads of 64, two of each, 2 bytes."""


def test_two_cores_leave_one_to_the_client() -> None:
    settings = serving_settings(TWO_CORES, SMOLLM, max_length=2048)
    assert settings.server_cpus == (0,)
    assert settings.client_cpus == (1,)
    assert settings.environment["OMP_NUM_THREADS"] == "1"
    assert settings.environment["VLLM_CPU_INT4_W4A8"] == "0"
    assert settings.arguments["enable-prefix-caching"] is False
    assert settings.arguments["max-model-len"] == 2048


def test_one_core_is_shared() -> None:
    settings = serving_settings(replace(TWO_CORES, cores=1), SMOLLM, max_length=128)
    assert settings.server_cpus == settings.client_cpus == (0,)


def test_cache_holds_every_request() -> None:
    settings = serving_settings(TWO_CORES, SMOLLM, max_length=8192, max_concurrency=16)
    needed = 8192 * 16 * 23_040
    assert int(settings.environment["VLLM_CPU_KVCACHE_SPACE"]) * 2**30 >= needed


def test_a_gpu_gets_no_cpu_settings() -> None:
    gpu = Hardware("1 × H100", "X", "x86_64", (), 16, 10**5, (Gpu("H100", 81_559, "9.0", "580"),))
    settings = serving_settings(gpu, SMOLLM, max_length=2048, local=False)
    assert "enforce-eager" not in settings.arguments
    assert not [name for name in settings.environment if name.startswith("VLLM_CPU") or name == "OMP_NUM_THREADS"]
    assert "HF_HUB_OFFLINE" not in settings.environment
