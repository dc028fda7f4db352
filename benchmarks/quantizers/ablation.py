"""What each part of whichbits' recipes is worth: the balanced one changed in a part, up to the best, on one judge.

    python benchmarks/quantizers/ablation.py WORK --text FILE [--only RUN...] [--part middle]

makes and judges what is missing under WORK (a folder of the benchmark; its calibration tokens are drawn where there are none),
and prints the table of all that is there. The judge has the middle third of the text: the last third is not for choosing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from make import make
from runs import Run
from table import interval, ratio
from tokens import draw, part, spread, windows, write, written
from work import Work

from whichbits.quantization.recipe.effort import CORRECTION

WHOLE = {"w4a16-int": "ablation-w4a16-int", "w8a8-int": "ablation-w8a8-int"}
"""The unchanged recipe's run, by format."""


def _run(format: str, name: str, what: str, changed: Mapping[str, Any]) -> Run:
    grouped = {"group_size": 64} if format.startswith("w4") else {}
    own = f"{WHOLE[format]}-{name}" if name else WHOLE[format]
    return Run(own, "whichbits", (format,), {"effort": "balanced"} | grouped | dict(changed), what)


ALIKE = {"fisher_samples": 0}
CORRECTED = {"propagate_error": True} | CORRECTION
INPUTS = CORRECTED | {"residual_error_correction": 0}

ABLATION = (
    _run("w4a16-int", "", "balanced", {}),
    _run("w4a16-int", "no-shrinkage", "damping of 0.01 alone", {"shrinkage": 0.0}),
    _run("w4a16-int", "mse", "scales by the weights alone", {"scales": "mse"}),
    _run("w4a16-int", "draws", "four draws", {"fisher_samples": 4}),
    _run("w4a16-int", "inputs", "a part of the error in inputs corrected for", INPUTS),
    _run("w4a16-int", "residual", "so, and of that in the residual stream", CORRECTED),
    _run("w4a16-int", "best", "so, and four draws (best)", CORRECTED | {"fisher_samples": 4}),
    _run("w4a16-int", "no-fisher", "every token and output counts the same", ALIKE),
    _run("w4a16-int", "propagated", "so, and the error propagates", ALIKE | {"propagate_error": True}),
    _run("w4a16-int", "alike-inputs", "so, and a part of that in inputs corrected for", ALIKE | INPUTS),
    _run("w4a16-int", "alike-residual", "so, and of that in the residual stream", ALIKE | CORRECTED),
    _run("w8a8-int", "", "balanced", {}),
    _run("w8a8-int", "no-fisher", "every token and output counts the same", ALIKE),
    _run("w8a8-int", "smoothing", "SmoothQuant of 0.8 in place of balancing", {"smoothing": 0.8}),
    _run("w8a8-int", "neither", "no scales of inputs", {"balancing": None}),
)


def main() -> None:
    """Make, judge, and print."""
    import torch
    from judge import judge, keep_base

    from whichbits.models.resolve import resolve

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="folder, or an embedded model's name")
    parser.add_argument("--only", nargs="+", default=[], help="names of runs")
    parser.add_argument("--part", default="middle", choices=("held-out", "middle", "all"))
    parser.add_argument("--windows", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    work, model = Work(given.work), resolve(given.model).path
    found = windows(model, given.text, 512)
    if not work.tokens.exists():
        work.folder.mkdir(parents=True, exist_ok=True)
        write(draw(found, 32, seed=0), work.tokens)
    chosen = spread(part(found, given.part, written(work.tokens)), given.windows)
    keep_base(model, chosen, work.folder / f"base-{given.part}")
    for run in (run for run in ABLATION if not given.only or run.name in given.only):
        (format,) = run.formats
        if work.measurement(run) is None:
            make(work, run, model, {}, threads=1)
        if work.judgement(run, format, given.part) is None:
            figures = judge(work.checkpoint(run, format), chosen, work.folder / f"base-{given.part}")
            work.put_judgement(run, format, given.part, {"part": given.part, "windows": len(chosen)} | figures)
    print(_table(work, given.part))


def _table(work: Work, judge: str) -> str:
    """KL and its ratio to the unchanged recipe's, with 95 % intervals over windows (paired for the ratio), and CPU time."""
    lines = ["| format | recipe | KL | ratio | CPU s |", "|---|---|---|---|---|"]
    for run in ABLATION:
        (format,) = run.formats
        whole = next(each for each in ABLATION if each.name == WHOLE[format])
        ours, base, cost = work.judgement(run, format, judge), work.judgement(whole, format, judge), work.measurement(run)
        if ours is None or base is None or cost is None:
            continue
        mean, half = interval(ours["kl"])
        low, middle, high = ratio(ours["kl"], base["kl"])
        lines.append(
            f"| {format} | {run.what} | {mean:.4f} ± {half:.4f} | {middle:.3f} [{low:.3f}, {high:.3f}] | {cost['cpu_s']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
