"""Time a GPU's matrix products by format: `python benchmarks/gpu_matmul.py > products.csv` (needs a CUDA build of torch).

For each (n, k) of the linear layers of an 8B and a 70B model and each number of tokens m it times: 16-bit (`torch.mm`), FP8
(`torch._scaled_mm`, row-wise scales), INT8 (`torch._int_mm`) and INT4 weights (`torch._weight_int4pack_mm`, groups of 128);
what the device or the build lacks is printed as skipped, with the reason.
Each product runs on buffers that together exceed the L2 cache, so that weights come from memory; the median of CUDA-event
times over REPEATS calls is printed in microseconds.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

SHAPES = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672))
TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
COLD_BYTES = 512 * 2**20
REPEATS = 50
GROUP = 128
FEWEST_INT8_ROWS = 32
"""`torch._int_mm` wants more than 16 rows; smaller batches are padded, as an engine would."""


def dense16(torch: Any, m: int, n: int, k: int, copies: int) -> Iterator[Callable[[], Any]]:
    """16-bit products."""
    x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    for _ in range(copies):
        w = torch.randn(k, n, device="cuda", dtype=torch.bfloat16)
        yield lambda w=w: torch.mm(x, w)


def scaled_fp8(torch: Any, m: int, n: int, k: int, copies: int) -> Iterator[Callable[[], Any]]:
    """FP8 E4M3 products with a scale per token and per output channel."""
    rows = max(m, 16)
    x = torch.randn(rows, k, device="cuda").to(torch.float8_e4m3fn)
    left, right = torch.ones(rows, 1, device="cuda"), torch.ones(1, n, device="cuda")
    for _ in range(copies):
        w = torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn).t()
        yield lambda w=w: torch._scaled_mm(x, w, scale_a=left, scale_b=right, out_dtype=torch.bfloat16)


def int8(torch: Any, m: int, n: int, k: int, copies: int) -> Iterator[Callable[[], Any]]:
    """INT8 products accumulated in INT32."""
    x = torch.randint(-128, 127, (max(m, FEWEST_INT8_ROWS), k), device="cuda", dtype=torch.int8)
    for _ in range(copies):
        w = torch.randint(-128, 127, (n, k), device="cuda", dtype=torch.int8).t()
        yield lambda w=w: torch._int_mm(x, w)


def weight_int4(torch: Any, m: int, n: int, k: int, copies: int) -> Iterator[Callable[[], Any]]:
    """INT4 weights with 16-bit activations, unpacked in the kernel."""
    x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    scales = torch.ones(k // GROUP, n, 2, device="cuda", dtype=torch.bfloat16)
    for _ in range(copies):
        packed = torch._convert_weight_to_int4pack(torch.randint(0, 255, (n, k // 2), device="cuda", dtype=torch.uint8), 8)
        yield lambda w=packed: torch._weight_int4pack_mm(x, w, GROUP, scales)


FORMATS = {"bf16": (dense16, 2.0), "w8a8-fp": (scaled_fp8, 1.0), "w8a8-int": (int8, 1.0), "w4a16-int": (weight_int4, 0.5)}


def microseconds(torch: Any, calls: list[Callable[[], Any]]) -> float:
    """Median time of a call."""
    for call in calls:
        call()
    times = []
    for i in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        calls[i % len(calls)]()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return median(times)


def main() -> int:
    """Print one row a product."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        import torch
    except ImportError:
        print("torch is not installed", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("no CUDA device", file=sys.stderr)
        return 2
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["device", "torch", "format", "m", "n", "k", "microseconds", "skipped"])
    device = torch.cuda.get_device_name()
    for format, (make, weight_bytes) in FORMATS.items():
        for n, k in SHAPES:
            copies = max(1, int(COLD_BYTES / (n * k * weight_bytes)) + 1)
            for m in TOKENS:
                try:
                    row = [f"{microseconds(torch, list(make(torch, m, n, k, copies))):.2f}", ""]
                except (RuntimeError, AttributeError, NotImplementedError) as error:
                    row = ["", str(error).splitlines()[0]]
                writer.writerow([device, torch.__version__, format, m, n, k, *row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
