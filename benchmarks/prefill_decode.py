"""Whether prefill and decode, measured apart, add up to the latency of a load: on this machine, with vLLM.

    python benchmarks/prefill_decode.py --rounds 5

Serves a checkpoint, and measures in each round the workload and then the batches that its parts are taken from, so that a
machine that is shared slows down both alike. Prints for each load the medians over rounds, and by how much the sum is off the
latency that was measured in the same round.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from whichbits.engines.vllm.command import find_vllm
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.hardware.this_machine import describe, processors
from whichbits.models.resolve import resolve
from whichbits.schema.prefill_decode import PrefillDecode
from whichbits.schema.workload import Workload
from whichbits.serving.measure import measure
from whichbits.serving.prefill_decode import measure_batches

WORKLOADS = (
    Workload(name="chat", prompt_tokens=128, output_tokens=32, concurrency=(4, 16), requests_per_stream=5),
    Workload(name="reading", prompt_tokens=512, output_tokens=32, concurrency=(4,), requests_per_stream=5),
)


def batches_of(workload: Workload) -> PrefillDecode:
    """The batches that the parts of the workload's loads are: no interpolation is needed."""
    prompt, half = workload.mean_prompt_tokens, workload.mean_output_tokens // 2
    assert workload.concurrency != "auto"
    sizes = (1, *workload.concurrency)
    return PrefillDecode(batch_sizes=sizes, prompt_tokens=(prompt,), context_tokens=(prompt + half,), repeats=2, steps=16)


def round_of(
    server: Server, tokenizer: Path, workload: Workload, seed: int, cpus: set[int] | None
) -> list[tuple[str, float, float, float]]:
    """Of each load: prefill, decode and measured latency in seconds."""
    levels = measure(server.url, server.model, tokenizer, workload, seed=seed, cpus=cpus)
    found = measure_batches(server.url, server.model, tokenizer, batches_of(workload), seed=seed, cpus=cpus)
    seconds = {(one.phase, one.batch_size): float(np.mean(one.seconds)) for one in found}
    rows = []
    for level in levels:
        assert level.concurrency is not None and level.metrics.latency_s is not None
        steps = workload.mean_output_tokens - 1
        parts = seconds["prefill", level.concurrency], steps * seconds["decode", level.concurrency]
        rows.append((level.load_level, *parts, level.metrics.latency_s.mean))
    return rows


def main() -> None:
    """Print a row a load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workload", nargs="+", default=[one.name for one in WORKLOADS])
    given = parser.parse_args()
    model = resolve(given.model)
    longest = max(one.longest_request for one in WORKLOADS) + 64
    settings = serving_settings(describe(), model.configuration.kv_bytes_per_token, max_length=longest)
    client = set(processors(settings.client_cpus)) if settings.client_cpus else None
    print("| workload | load | prefill, ms | decode, ms | sum, ms | measured, ms | off, %: median (rounds) |")
    print("|---|---|--:|--:|--:|--:|--:|")
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(
            find_vllm(), model.path, arguments=settings.arguments, environment=settings.environment,
            log=Path(folder) / "log", cpus=processors(settings.server_cpus) if settings.server_cpus else None,
        ) as server,
    ):  # fmt: skip
        for workload in (one for one in WORKLOADS if one.name in given.workload):
            rounds = [round_of(server, model.path, workload, seed, client) for seed in range(given.rounds)]
            for rows in zip(*rounds, strict=True):
                table = np.array([row[1:] for row in rows])
                sums = table[:, 0] + table[:, 1]
                off = 100 * (sums / table[:, 2] - 1)
                prefill, decode, measured = 1e3 * np.median(table, axis=0)
                print(
                    f"| {workload.name} | {rows[0][0]} | {prefill:.0f} | {decode:.0f} | {1e3 * np.median(sums):.0f} "
                    f"| {measured:.0f} | {np.median(off):+.1f} ({', '.join(f'{one:+.1f}' for one in off)}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
