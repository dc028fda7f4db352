"""Whether prefill and decode, measured apart, add up to the latency of a load: on this machine, with vLLM.

    python benchmarks/prefill_decode.py --store DIR

Runs a study of the embedded model, with two formats unless others are named, and prints for each load the sum of its parts
beside the measured latency.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import whichbits

SPECIFICATION = """\
version: 1
name: prefill-decode
model: {model}
candidates: [{candidates}]
workloads:
  - {{name: chat, prompt_tokens: 128, output_tokens: 32, concurrency: [4, 16], requests_per_stream: 5}}
  - {{name: reading, prompt_tokens: 512, output_tokens: 32, concurrency: [4], requests_per_stream: 5}}
prefill_decode: {{batch_sizes: [1, 4, 16]}}
rounds: {rounds}
"""


def main() -> None:
    """Run the study, and print a row a load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--store", type=Path, default=Path("studies/prefill-decode"))
    parser.add_argument("--format", nargs="+", default=["w8a8-int", "w4a16-int"], help="beside the base")
    given = parser.parse_args()
    given.store.mkdir(parents=True, exist_ok=True)
    specification = given.store / "specification.yaml"
    candidates = ", ".join(f"{{format: {name}, recipe: {{scales: minmax}}}}" for name in given.format)
    text = SPECIFICATION.format(model=given.model, rounds=given.rounds, candidates=candidates)
    specification.write_text(text, encoding="utf-8")
    verdict = whichbits.study(specification, store=given.store).verdict
    print("| workload | load | candidate | prefill, ms | decode, ms | sum, ms | measured, ms | off, % |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for one in verdict.latency_parts:
        total = one.prefill_s + one.decode_s
        print(
            f"| {one.workload} | {one.load_level} | {one.candidate} | {1e3 * one.prefill_s:.0f} | {1e3 * one.decode_s:.0f} "
            f"| {1e3 * total:.0f} | {1e3 * one.measured_s:.0f} | {100 * (total / one.measured_s - 1):+.1f} |"
        )


if __name__ == "__main__":
    main()
