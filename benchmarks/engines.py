"""How fast the engines are here: start of a server, prefill and decoding of served and emulated checkpoints.

    python benchmarks/engines.py CHECKPOINT... [--served] [--emulated] [--threads 1]

One line a checkpoint and engine. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from whichbits.engines.emulation.model import Emulated
from whichbits.engines.http.endpoint import Endpoint
from whichbits.engines.vllm.command import find_vllm
from whichbits.engines.vllm.server import Server
from whichbits.engines.vllm.server_arguments import serving_settings
from whichbits.hardware.this_machine import describe, processors
from whichbits.models.configuration import read_configuration

PROMPT, CONTINUATION, OUTPUT, ITEMS, CONCURRENCY = 508, 4, 32, 16, 8


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(model: Endpoint | Emulated, name: str, engine: str, start_s: float) -> None:
    """Print one line of rates in tokens a second."""
    draw = random.Random(0)
    prompts = [[draw.randrange(100, 40_000) for _ in range(PROMPT)] for _ in range(ITEMS)]
    pairs = [(prompt, [draw.randrange(100, 40_000) for _ in range(CONTINUATION)]) for prompt in prompts]
    choices = [[100, 200, 300, 400]] * ITEMS
    short = [prompt[:128] for prompt in prompts[:CONCURRENCY]]
    model.next_token_logprobs(prompts[:2], choices[:2])
    tokens = ITEMS * (PROMPT + CONTINUATION)
    rates = {
        "loglikelihood": tokens / timed(lambda: model.loglikelihood(pairs)),
        "choices": ITEMS * PROMPT / timed(lambda: model.next_token_logprobs(prompts, choices)),
        f"decode x{CONCURRENCY}": CONCURRENCY * OUTPUT / timed(lambda: model.generate(short, max_tokens=OUTPUT)),
        "decode x1": OUTPUT / timed(lambda: model.generate(short[:1], max_tokens=OUTPUT)),
    }
    print(f"{name:12} {engine:9} start {start_s:5.1f} s  " + "  ".join(f"{key} {rate:6.0f}/s" for key, rate in rates.items()))


def idle_share(seconds: float = 5.0) -> float:
    """Share of one processor that this process's children take while nobody asks them anything."""
    family = psutil.Process().children(recursive=True)
    before = sum(sum(child.cpu_times()[:2]) for child in family)
    time.sleep(seconds)
    return (sum(sum(child.cpu_times()[:2]) for child in family) - before) / seconds


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--served", action="store_true")
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    hardware = describe()
    print(hardware)
    for checkpoint in options.checkpoints:
        settings = serving_settings(hardware, read_configuration(checkpoint).kv_bytes_per_token, max_length=1024)
        if options.served:
            with (
                tempfile.TemporaryDirectory() as folder,
                Server(
                    find_vllm(),
                    checkpoint,
                    arguments=settings.arguments,
                    environment=settings.environment,
                    log=Path(folder) / "log.txt",
                    cpus=processors(settings.server_cpus),
                ) as server,
                Endpoint(server.url, server.model, max_length=1024, concurrency=CONCURRENCY) as endpoint,
            ):
                measure(endpoint, checkpoint.name, "served", server.start_s)
                print(f"{checkpoint.name:12} idle: {idle_share():.1%} of a processor")
        if options.emulated:
            began = time.perf_counter()
            model = Emulated(checkpoint, threads=options.threads)
            measure(model, checkpoint.name, "emulated", time.perf_counter() - began)


if __name__ == "__main__":
    main()
