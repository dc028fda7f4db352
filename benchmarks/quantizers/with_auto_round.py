"""One checkpoint by auto-round; run in its own environment (see `environments`).

    PYTHON benchmarks/quantizers/with_auto_round.py MODEL TOKENS.jsonl ITERATIONS OUT

4-bit weights, symmetric. ITERATIONS of its tuning a block (its own default is 200; 0 rounds with its searched scales).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from auto_round import AutoRound
from torch.utils.data import DataLoader


def main() -> None:
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("iterations", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--group-size", type=int, default=64)
    given = parser.parse_args()
    rows = torch.tensor([json.loads(line) for line in given.tokens.read_text().splitlines()])
    samples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows]
    tuner = AutoRound(
        str(given.model), scheme="W4A16", group_size=given.group_size, iters=given.iterations, nsamples=len(rows),
        seqlen=rows.shape[1], dataset=DataLoader(samples, batch_size=8), device_map="cpu",
    )  # fmt: skip
    tuner.quantize_and_save(output_dir=str(given.out), format="auto_gptq")
    # It writes to a folder of its own naming within.
    (inner,) = given.out.iterdir()
    for file in inner.iterdir():
        file.rename(given.out / file.name)
    inner.rmdir()


if __name__ == "__main__":
    main()
