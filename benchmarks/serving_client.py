"""What the load client itself costs, and its latencies beside those of a plain streaming client.

    python benchmarks/serving_client.py URL MODEL TOKENIZER_FOLDER --workload demo-chat --cpus 1

Prints, for each load level: seconds beside the requests, the client's share of a core, dispatch delay; and for the synchronous
load level the medians of TTFT and latency by `measure` and by a bare httpx loop on prompts of its own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import httpx
import numpy as np

from whichbits.schema.workload import Workload
from whichbits.serving.measure import measure
from whichbits.serving.traffic.random_prompts import ordinary_tokens, prompt
from whichbits.serving.workload import parse_workload


def plain_request(client: httpx.Client, url: str, model: str, tokens: list[int], output_tokens: int) -> tuple[float, float]:
    """TTFT and latency in seconds of one streamed request."""
    body = {"model": model, "prompt": tokens, "max_tokens": output_tokens, "ignore_eos": True, "temperature": 0, "stream": True}
    began = time.perf_counter()
    first = 0.0
    with client.stream("POST", f"{url}/v1/completions", json=body, timeout=600) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if not first and line.startswith("data: {"):
                first = time.perf_counter() - began
    return first, time.perf_counter() - began


def plain(url: str, model: str, tokenizer: Path, workload: Workload) -> tuple[float, float]:
    """Medians of TTFT and latency of `workload.requests_per_stream` requests after one warm-up."""
    vocabulary = ordinary_tokens(tokenizer)
    prompts = [
        prompt(vocabulary, workload.prompt_tokens, seed=10**6, level="plain", index=i)
        for i in range(workload.requests_per_stream + 1)
    ]
    with httpx.Client() as client:
        seen = [plain_request(client, url, model, tokens, workload.output_tokens) for tokens in prompts]
    ttft, latency = np.median(seen[1:], axis=0)
    return float(ttft), float(latency)


def main() -> None:
    """Run both clients against one server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model", help="its served name")
    parser.add_argument("tokenizer", type=Path, help="a folder with its tokenizer")
    parser.add_argument("--workload", default="demo-chat")
    parser.add_argument("--cpus", type=int, nargs="+", help="the client's cores; default: all")
    given = parser.parse_args()
    workload = parse_workload(given.workload)
    began = time.monotonic()
    load_levels = measure(
        given.url, given.model, given.tokenizer, workload, seed=0, cpus=set(given.cpus) if given.cpus else None
    )
    total = time.monotonic() - began
    for one in load_levels:
        print(one.load_level, "valid" if one.valid else one.reasons)
        metrics, seen = one.metrics, one.evidence
        print(f"  requests/s {metrics.requests_per_second}, mean latency {metrics.latency_s and metrics.latency_s.mean} s")
        print(f"  client: {seen.client_cpu:.3f} cores, requests {1e3 * (seen.dispatch_delay_s or 0):.1f} ms late")
        print(f"  in flight {seen.in_flight}, mean latencies {seen.mean_latencies}, prefix hits {seen.prefix_cache_hit_rate}")
    busy = sum(max(row.start_s + (row.values["latency_s"] or 0) for row in one.rows) for one in load_levels)
    print(f"beside the requests: {total - busy:.2f} s over {len(load_levels)} load levels ({total:.1f} s in all)")
    ours = {key: np.median([row.values[key] for row in load_levels[0].rows]) for key in ("ttft_s", "latency_s")}
    ttft, latency = plain(given.url, given.model, given.tokenizer, workload)
    print(f"TTFT    {ours['ttft_s']:.4f} s, plain client {ttft:.4f} s")
    print(f"latency {ours['latency_s']:.4f} s, plain client {latency:.4f} s")


if __name__ == "__main__":
    main()
