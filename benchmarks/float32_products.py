"""How much longer torch takes for products of BF16 than `whichbits.models.float32_products`, on this processor.

    python benchmarks/float32_products.py

Prints ratios of CPU time, each the shortest of three: 1.0 where the processor multiplies BF16, since nothing is replaced there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from whichbits.models.float32_products import float32_products


def seconds(call: Callable[[], object]) -> float:
    """Shortest CPU time of three calls."""
    times = []
    for _ in range(3):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Print the ratios."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    tokens, weight, vocabulary, p = (
        torch.randn(shape, generator=generator).bfloat16() for shape in ((512, 576), (1536, 576), (49152, 256), (64, 49152))
    )
    gradient = torch.randn(512, 1536, generator=generator).bfloat16()
    cases: dict[str, Callable[[], object]] = {
        "linear layer, 512 tokens, 576 to 1,536": lambda: functional.linear(tokens, weight),
        "its way back to the input, along rows": lambda: gradient @ weight,
        "probabilities of 49,152 tokens by their embeddings, along rows": lambda: p @ vocabulary,
    }
    for name, call in cases.items():
        own = seconds(call)
        with float32_products():
            print(f"{name}: torch takes {own / seconds(call):.1f} times as long")


if __name__ == "__main__":
    main()
