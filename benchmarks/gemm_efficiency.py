"""Summarize measured matrix products: `python benchmarks/gemm_efficiency.py FOLDER > kernel_efficiency.csv`.

FOLDER holds AIConfigurator's GEMM tables as `gemm-<gpu>-<engine>-<version>.parquet` (columns m, n, k, gemm_dtype,
latency in ms). For each table and number type it prints the fixed time and the share of the bandwidth that fit small
batches (m ≤ 16, robust fit of fixed + bytes / (share · bandwidth)), the median error of that fit, and the share of the
peak rate at m ≥ 1024 (median and best decile), over matrices of 8 to 600 million weights. `tile_depth` is the time that each
tile's start and end take, in multiplications along k, and `deep_share` the share of the peak rate that is reached where k is
large beside it: a robust fit of fixed + 2 (k + depth) (m n + idle) / (share · peak) to the same large batches, k from 512 on.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import least_squares

from whichbits.hardware.catalogue import Hardware, find

TILE, IDLE_TILES = 128, 0.35
"""Side of a tile, and the share of a wave of them that stays idle (parameters.yaml)."""
BYTES = {"bfloat16": (2, 2), "fp8": (1, 1), "sq": (1, 1), "int8_wo": (1, 2), "int4_wo": (0.5, 2), "fp8_block": (1, 1)}
RATE = {"bfloat16": "bf16", "fp8": "fp8", "sq": "int8", "int8_wo": "bf16", "int4_wo": "bf16", "fp8_block": "fp8"}


def row(table: dict[str, np.ndarray], kind: str, device: Hardware) -> dict[str, str]:
    """Figures of one number type."""
    m, n, k, seconds = (table[name] for name in ("m", "n", "k", "latency"))
    shape = (n * k >= 8e6) & (n * k <= 6e8) & (n >= 1024) & (k >= 1024) & (table["gemm_dtype"] == kind)
    weight, activation = BYTES[kind]
    small, large = shape & (m <= 16), shape & (m >= 1024) & (m <= 8192)
    moved = n * k * weight + m * k * activation + 2 * m * n
    ideal = (moved / device.bandwidth)[small]

    def error(z: np.ndarray) -> np.ndarray:
        return np.log((np.exp(z[0]) + ideal / np.exp(z[1])) / seconds[small])

    fit = least_squares(error, np.log([5e-6, 0.85]), loss="soft_l1", f_scale=0.1)
    fixed, share = np.exp(fit.x)
    reached = (2 * m * n * k / device.peak[RATE[kind]] / seconds)[large]
    deep = (n * k <= 6e8) & (n >= 4096) & (k >= 512) & (k <= 32768) & (table["gemm_dtype"] == kind) & (m >= 1024) & (m <= 8192)
    square = (m * n + IDLE_TILES * TILE**2 * device.units)[deep]

    def deep_error(z: np.ndarray) -> np.ndarray:
        busy = 2 * (k[deep] + np.exp(z[0])) * square / (np.exp(z[1]) * device.peak[RATE[kind]])
        return np.log((fixed + busy) / seconds[deep])

    depth, deep_share = np.exp(least_squares(deep_error, np.log([300, 0.8]), loss="soft_l1", f_scale=0.1).x)
    return {
        "number_type": kind,
        "products": str(int(shape.sum())),
        "fixed_us": f"{fixed * 1e6:.1f}",
        "fixed_cycles": f"{fixed * device.clock_hz:.0f}",
        "bandwidth_share": f"{share:.2f}",
        "median_error": f"{np.median(np.abs(error(fit.x))):.3f}",
        "rate_share": f"{np.median(reached):.2f}",
        "rate_share_best_decile": f"{np.quantile(reached, 0.9):.2f}",
        "tile_depth": f"{depth:.0f}",
        "deep_share": f"{deep_share:.2f}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="AIConfigurator's GEMM tables")
    rows = []
    for file in sorted(parser.parse_args().folder.glob("gemm-*.parquet")):
        _, gpu, engine, version = file.stem.split("-", 3)
        data = pq.read_table(file).to_pydict()
        table = {name: np.array(data[name], dtype=float) for name in ("m", "n", "k", "latency")}
        table["latency"] /= 1e3
        table["gemm_dtype"] = np.array(data["gemm_dtype"])
        for kind in sorted(set(data["gemm_dtype"])):
            rows.append({"gpu": gpu, "engine": engine, "version": version, **row(table, kind, find(gpu))})
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
