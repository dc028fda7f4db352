"""What tells a server that serves a checkpoint from one that serves it in another type, or with rounded weights.

    python benchmarks/served_weights.py MODEL [--only as-it-is float16 ...] [--threads 2]

MODEL is a folder in 16 bit. It is served by vLLM as it is, with other `--dtype`s, with an FP8 key-value cache, and with
weights rounded to fewer bits (a scale a row) but stored in 16 bit. Each line gives the distances that
`engines/served_weights.py` judges by: root mean squares of log-probabilities, nats a token.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.served_weights import agreement, reference
from whichbits.engines.vllm.command import find_vllm
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.hardware.this_machine import describe
from whichbits.models.configuration import read_configuration


def to_integers(largest: int) -> Callable[[Tensor], Tensor]:
    """Rounds to integers up to `largest`, with a scale a row."""

    def rounded(weight: Tensor) -> Tensor:
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-9) / largest
        return (weight / scale).round() * scale

    return rounded


def to_fp8(weight: Tensor) -> Tensor:
    """Rounds to FP8 (E4M3), with a scale a row."""
    scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-9) / 448
    return (weight / scale).to(torch.float8_e4m3fn).float() * scale


ROUNDED: dict[str, Callable[[Tensor], Tensor]] = {"int8": to_integers(127), "fp8": to_fp8, "int4": to_integers(7)}
LENGTH = 256
ARGUMENTS = {"float16": {"dtype": "float16"}, "float32": {"dtype": "float32"}, "kv-fp8": {"kv-cache-dtype": "fp8"}}
VARIANTS = ("as-it-is", *ARGUMENTS, *ROUNDED)


def rounded_copy(model: Path, folder: Path, change: Callable[[Tensor], Tensor]) -> Path:
    """The model with the weights of its linear layers changed, in the type that they have."""
    shutil.copytree(model, folder)
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if name.endswith("proj.weight"):
                tensors[name] = change(tensor.float()).to(tensor.dtype)
        save_file(tensors, file, metadata={"format": "pt"})
    return folder


def main() -> None:
    """A line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    expected = reference(asked.model, f"benchmark-{asked.model.resolve().as_posix().replace('/', '-')}", threads=asked.threads)
    assert expected is not None, "the model does not fit into this machine's memory"
    print(
        f"rounding {expected.rounding:.4f} nats a token, limit {expected.limit:.4f}, {len(expected.pairs)} tokens", flush=True
    )
    kv_bytes = read_configuration(asked.model).kv_bytes_per_token
    settings = serving_settings(describe(), kv_bytes, max_length=LENGTH)
    with tempfile.TemporaryDirectory() as scratch:
        for variant in asked.only:
            model = rounded_copy(asked.model, Path(scratch, variant), ROUNDED[variant]) if variant in ROUNDED else asked.model
            arguments = dict(settings.arguments) | ARGUMENTS.get(variant, {})
            log = Path(scratch, f"{variant}.log")
            with (
                Server(find_vllm(), model, arguments=arguments, environment=settings.environment, log=log) as server,
                Endpoint(server.url, server.model, max_length=LENGTH, concurrency=1) as engine,
            ):
                found = agreement(engine, expected)
            assert found.distance is not None and found.from_float32 is not None, found.reason
            said = "other weights" if found.other else found.arithmetic or "its own"
            share = found.from_float32 / expected.rounding
            print(
                f"{variant:9} distance {found.distance:.4f}  from float32 {found.from_float32:.4f} ({share:.2f})  {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
