"""One checkpoint by GPTQModel; run in its own environment (see `environments`).

    PYTHON benchmarks/quantizers/with_gptqmodel.py MODEL TOKENS.jsonl RECIPE OUT

4-bit weights, symmetric; RECIPE is `gptq` (its own defaults) or `gptq-mse` (with its search of scales, exponent 2.4).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

# Its pool of workers must be two at least, which it does not see to on a machine with few cores.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

from gptqmodel import GPTQModel, QuantizeConfig

RECIPES = {"gptq": {}, "gptq-mse": {"mse": 2.4}}


def main() -> None:
    """Make the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--group-size", type=int, default=64)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.tokens.read_text().splitlines()]
    config = QuantizeConfig(bits=4, group_size=given.group_size, sym=True, device="cpu", **RECIPES[given.recipe])
    model = GPTQModel.load(str(given.model), config)
    model.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows], batch_size=1)
    model.save(str(given.out))


if __name__ == "__main__":
    main()
